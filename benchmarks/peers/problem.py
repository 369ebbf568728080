"""What every contender does: the same network, batch, data in memory, objective and optimiser, on one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gem_ray.models.vae import Decoder, Encoder, reparameterize

NETWORK, SIDE, LATENTS = "locatello", 64, 32
BATCH, RECORDS, RATE = 128, 2_048, 1e-3
DATA = "faces.npy"


def write_data(folder: Path) -> None:
    """Drawn faces, uint8 [N, H, W, 3]."""
    from gem_ray.data.faces import face

    np.save(folder / DATA, np.stack([face(0, number, SIDE)[0] for number in range(RECORDS)]))


def bytes_of(folder: str) -> np.ndarray:
    """The images as bytes, which is how this project holds them."""
    images: np.ndarray = np.load(Path(folder, DATA))
    return images


def floats_of(folder: str) -> Tensor:
    """The images as floats in [0, 1], [N, 3, H, W], which is how the peers hold them."""
    return torch.from_numpy(bytes_of(folder)).permute(0, 3, 1, 2).contiguous().float().div_(255)


def networks() -> tuple[Encoder, Decoder]:
    """The two networks, from the same seed."""
    torch.manual_seed(0)
    return Encoder(NETWORK, SIDE, LATENTS), Decoder(NETWORK, SIDE, LATENTS)


class PlainVae(nn.Module):
    """The VAE as one writes it: what the bare loop and the Lightning loop train."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = networks()

    def forward(self, x: Tensor) -> Tensor:
        """The negative ELBO per image."""
        mu, logvar = self.encoder(x)
        logits = self.decoder(reparameterize(mu, logvar, torch.randn_like(mu)))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        return reconstruction - 0.5 * (1 + logvar - mu.square() - logvar.exp()).sum() / len(x)
