"""The peers in fp32, each through its own trainer: pythae, disent, Lightning (in bf16 too), and a bare PyTorch loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.peers.gate import Gate
from benchmarks.peers.problem import BATCH, LATENTS, RATE, SIDE, PlainVae, floats_of, networks

SHAPE = (3, SIDE, SIDE)


def bare(folder: str, gate: Gate) -> None:
    """A loop over shuffled batches of a tensor."""
    images, model = floats_of(folder), PlainVae()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    while True:
        order = torch.randperm(len(images))
        for first in range(0, len(images) - BATCH + 1, BATCH):
            loss = model(images[order[first : first + BATCH]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            gate.passed()


def lightning(folder: str, gate: Gate) -> None:
    """The same under Lightning's trainer."""
    fit_with_lightning(folder, gate)


def lightning_bf16(folder: str, gate: Gate) -> None:
    """The same with its option for bf16 autocast."""
    fit_with_lightning(folder, gate, precision="bf16-mixed")


def fit_with_lightning(folder: str, gate: Gate, **options: Any) -> None:
    """The plain VAE under Lightning's trainer."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.vae = PlainVae()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            loss: Tensor = self.vae(batch[0])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=RATE)

    loader = DataLoader(TensorDataset(floats_of(folder)), BATCH, shuffle=True, drop_last=True)
    lightning_trainer(gate, **options).fit(Module(), loader)


def lightning_trainer(gate: Gate, **options: Any) -> Any:
    """Lightning's trainer with nothing beside the steps."""
    import lightning as L

    class AtGate(L.Callback):
        def on_train_batch_end(self, *arguments: Any) -> None:
            gate.passed()

    return L.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AtGate()],
        **options,
    )


def disent(folder: str, gate: Gate) -> None:
    """disent's beta-VAE, a Lightning module, under the trainer its documentation uses."""
    from disent.frameworks.vae import BetaVae
    from disent.model import AutoEncoder, DisentDecoder, DisentEncoder

    encoder, decoder = networks()

    class Encode(DisentEncoder):
        def __init__(self) -> None:
            super().__init__(x_shape=SHAPE, z_size=LATENTS, z_multiplier=2)
            self.network = encoder

        def encode(self, x: Tensor) -> Tensor:
            return torch.cat(self.network(x), dim=1)

    class Decode(DisentDecoder):
        def __init__(self) -> None:
            super().__init__(x_shape=SHAPE, z_size=LATENTS)
            self.network = decoder

        def decode(self, z: Tensor) -> Tensor:
            logits: Tensor = self.network(z)
            return logits

    class Observations(Dataset[dict[str, tuple[Tensor]]]):
        def __init__(self) -> None:
            self._images = floats_of(folder)

        def __len__(self) -> int:
            return len(self._images)

        def __getitem__(self, number: int) -> dict[str, tuple[Tensor]]:
            return {"x_targ": (self._images[number],)}

    rate = {"lr": RATE}
    cfg = BetaVae.cfg(optimizer="adam", optimizer_kwargs=rate, recon_loss="bce", loss_reduction="mean_sum", beta=1)
    module = BetaVae(model=AutoEncoder(Encode(), Decode()), cfg=cfg)
    lightning_trainer(gate).fit(module, DataLoader(Observations(), BATCH, shuffle=True, drop_last=True))


def pythae(folder: str, gate: Gate) -> None:
    """pythae's beta-VAE under its trainer."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import BetaVAE, BetaVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    encoder, decoder = networks()

    class Encode(BaseEncoder):
        def __init__(self) -> None:
            BaseEncoder.__init__(self)
            self.network: nn.Module = encoder

        def forward(self, x: Tensor) -> Any:
            mu, logvar = self.network(x)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decode(BaseDecoder):
        def __init__(self) -> None:
            BaseDecoder.__init__(self)
            self.network: nn.Module = decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))

    class AtGate(TrainingCallback):
        def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:
            gate.passed()

    images = floats_of(folder)
    config = BetaVAEConfig(input_dim=SHAPE, latent_dim=LATENTS, reconstruction_loss="bce", beta=1.0)
    settings = BaseTrainerConfig(
        output_dir=folder, num_epochs=10_000, per_device_train_batch_size=BATCH, learning_rate=RATE
    )
    BaseTrainer(
        model=BetaVAE(config, Encode(), Decode()),
        train_dataset=BaseDataset(images, torch.zeros(len(images))),
        training_config=settings,
        callbacks=[AtGate()],
    ).train()
