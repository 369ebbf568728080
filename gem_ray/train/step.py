"""One optimiser step, in plain torch: no Ray, no files, no clock.

Everything random comes in from outside, so a step is a function of parameters, batch and noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gem_ray.config import GemConfig, ObjectiveConfig
from gem_ray.errors import ConfigError
from gem_ray.losses.gem import LossTerms, gem_loss
from gem_ray.models.gem import Gem, GemOutputs
from gem_ray.models.perceptual import PerceptualNetwork
from gem_ray.train.anchor import AverageAnchor, build_anchor
from gem_ray.train.critics import Critic, build_critics, exchanging, joint_loss, joint_terms, latent_logits, latent_loss
from gem_ray.train.frozen import build_perceptual

# Which options a state of another shape comes from, by the prefix of its names.
DECIDED_BY = {
    "gem": "model, or other images at data.uri",
    "discriminator": "model or objective.adversarial_weight",
    "latent_critic": "objective.total_correlation or objective.latent_critic_width",
    "anchor": "objective.anchor",
}


@dataclass
class Parts:
    """What a step changes. ``model`` is what is called: ``gem``, wrapped by DDP on several workers."""

    gem: Gem
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    autocast: bool
    critics: dict[str, Critic] = field(default_factory=dict)
    anchor: AverageAnchor | None = None
    perceptual: PerceptualNetwork | None = None


class Inputs(NamedTuple):
    """One lane's share of a step."""

    images: Tensor  # [B, 3, H, W] float in [0, 1]
    noise: Tensor  # [B, L] standard normal, for the reparameterisation
    prior_noise: Tensor | None  # [B, L] samples of the prior, None without a critic
    strength: Tensor  # [K, K] of the DisGraph
    confidence: Tensor  # [K, K]
    scored_images: Tensor | None  # [M, 3, H, W], None before any scan
    targets: Tensor | None  # [M, K] standardised MLLM scores, NaN where missing
    step: int
    num_images: int = 0  # of the data set, for minibatch estimates of the total correlation


def build_parts(config: GemConfig, image_size: int, device: torch.device) -> Parts:
    """Model, critic and optimisers from the seed; identical on every rank."""
    torch.manual_seed(config.train.seed)
    memory_format = torch.channels_last if config.train.channels_last else torch.contiguous_format
    gem = Gem(config.model, image_size).to(device)
    gem = gem.to(memory_format=memory_format)  # type: ignore[call-overload]
    if config.train.compile:
        gem.compile()
    # Fused Adam has kernels for CPU and CUDA alike; torch refuses it elsewhere.
    fused = config.train.fused_adam
    parts = Parts(
        gem=gem,
        model=gem,
        optimizer=torch.optim.Adam(gem.trained_parameters(), lr=config.train.learning_rate, fused=fused),
        device=device,
        autocast=use_bf16(config.train.precision, device),
    )
    parts.critics = build_critics(config, gem, device, memory_format)
    parts.anchor = build_anchor(config, device)
    parts.perceptual = build_perceptual(config, device)
    return parts


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the networks run under bf16 autocast; "auto" asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def train_step(
    parts: Parts, inputs: Inputs, objective: ObjectiveConfig
) -> tuple[LossTerms, dict[str, Tensor], GemOutputs]:
    """A step whose batch is one lane; see ``step_on_lanes``."""
    return step_on_lanes(parts, [inputs], 1.0, objective)


def step_on_lanes(
    parts: Parts, lanes: Sequence[Inputs], share: float, objective: ObjectiveConfig
) -> tuple[LossTerms, dict[str, Tensor], GemOutputs]:
    """Update everything but the critics, then the critics (the two are alternated, see method.md section 2).

    Lanes are taken one after the other and their gradients added: terms that couple the images of a batch (covariances,
    total correlation) see a lane, however many of them a rank has, and so does memory.

    Args:
        lanes: this rank's
        share: weight of a lane, ranks / lanes of all ranks: DDP's mean over ranks is then the mean over lanes

    Returns:
        detached loss terms, each critic's loss by name (both weighted sums over these lanes), and the outputs of the
        forward pass of the first lane
    """
    parts.gem.zero_grad(set_to_none=True)  # not the optimiser's: an edge offset that is a probe is none of its
    terms, outputs = [], []
    for number, inputs in enumerate(lanes, 1):
        with exchanging(parts.model, number == len(lanes)):
            lane_terms, lane_outputs = _forward(parts, inputs, objective)
            (share * lane_terms.total).backward()
        terms.append(share * torch.stack([term.detach() for term in lane_terms]))
        outputs.append(lane_outputs)
    parts.optimizer.step()
    if parts.anchor:
        parts.anchor.update(outputs[0].adjacency, lanes[0].strength)
    critic_losses = {}
    for name, critic in parts.critics.items():
        pairs = zip(lanes, outputs, strict=True)
        critic_losses[name] = critic.descend(
            [partial(_critic_loss, parts, name, *pair, share, objective) for pair in pairs]
        )
    return LossTerms(*torch.stack(terms).sum(dim=0)), critic_losses, outputs[0]


def _forward(parts: Parts, inputs: Inputs, objective: ObjectiveConfig) -> tuple[LossTerms, GemOutputs]:
    """Loss terms and outputs of one lane."""
    x, critics = inputs.images, parts.critics
    joint, latent = critics.get("discriminator"), critics.get("latent_critic")
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.autocast):
        prior_noise = inputs.prior_noise if joint else None
        with_prior_view = objective.contrastive_weight > 0
        outputs: GemOutputs = parts.model(
            x, inputs.noise, inputs.strength, inputs.scored_images, prior_noise, with_prior_view
        )
        adversarial = joint_terms(joint, x, outputs, objective)
        logits = latent_logits(latent, outputs)
        perceptual = parts.perceptual.distance(Gem.images(outputs.logits), x) if parts.perceptual else None
    terms = gem_loss(
        outputs,
        x,
        parts.anchor(inputs.strength) if parts.anchor else inputs.strength,
        inputs.confidence,
        inputs.targets,
        adversarial,
        objective,
        inputs.step,
        inputs.num_images,
        logits,
        perceptual,
    )
    return terms, outputs


def _critic_loss(
    parts: Parts, name: str, inputs: Inputs, outputs: GemOutputs, share: float, objective: ObjectiveConfig
) -> Tensor:
    """What a critic descends on one lane."""
    critic = parts.critics[name]
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.autocast):
        if name == "discriminator":
            return share * joint_loss(critic, inputs.images, outputs, objective)
        assert inputs.prior_noise is not None
        return share * latent_loss(critic, outputs, inputs.prior_noise)


def step_noise(seed: int, step: int, purpose: int, num_rows: int, width: int) -> Tensor:
    """Standard normal noise [num_rows, width] of one step over all lanes; a pure function of its arguments."""
    state = np.random.SeedSequence([seed, step, purpose]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state) % 2**63)
    return torch.randn(num_rows, width, generator=generator)


def state_tensors(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(model, optimiser) state as flat named tensors, the critics' and the anchor's beside the model's."""
    model = {f"gem.{name}": tensor for name, tensor in parts.gem.state_dict().items()}
    optimizer = _optimizer_tensors("gem", parts.gem, parts.optimizer)
    for prefix, critic in parts.critics.items():
        model |= {f"{prefix}.{name}": tensor for name, tensor in critic.module.state_dict().items()}
        optimizer |= _optimizer_tensors(prefix, critic.module, critic.optimizer)
    if parts.anchor:
        model |= {f"anchor.{name}": tensor for name, tensor in parts.anchor.state_dict().items()}
    return model, optimizer


def load_state_tensors(parts: Parts, model: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
    """The inverse of ``state_tensors``.

    Raises:
        ConfigError: a tensor that is missing, too many or of another shape, with the options that decide it
    """
    _load_module(parts.gem, "gem", model)
    _load_optimizer_tensors(parts.gem, parts.optimizer, _below(optimizer, "gem."))
    for prefix, critic in parts.critics.items():
        _load_module(critic.module, prefix, model)
        _load_optimizer_tensors(critic.module, critic.optimizer, _below(optimizer, f"{prefix}."))
    if parts.anchor:
        _load_module(parts.anchor, "anchor", model)


def _load_module(module: nn.Module, prefix: str, model: dict[str, Tensor]) -> None:
    tensors = _below(model, f"{prefix}.")
    found, wanted = ({(name, state[name].shape) for name in state} for state in (tensors, module.state_dict()))
    if found != wanted:
        names = sorted({f"{prefix}.{name}" for name, _ in found ^ wanted})
        raise ConfigError(
            f"the checkpoint was written with another {DECIDED_BY[prefix]}: it and this configuration differ in "
            f"{len(names)} tensors, {names[0]} the first; set that back or choose another run.name"
        )
    module.load_state_dict(tensors)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _optimizer_tensors(prefix: str, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}/{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _load_optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    for name, parameter in module.named_parameters():
        state = {key.split("/")[1]: value for key, value in tensors.items() if key.split("/")[0] == name}
        for key, value in state.items():
            # The fused kernel walks moments and parameter in memory order: a contiguous moment beside a channels-last
            # parameter would be applied to the wrong weights.
            like = parameter.detach() if value.shape == parameter.shape else value
            optimizer.state[parameter][key] = torch.empty_like(like, device=parameter.device).copy_(value)
