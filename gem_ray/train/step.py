"""One optimiser step, in plain torch: no Ray, no files, no clock.

Everything random comes in from outside, so a step is a function of parameters, batch and noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gem_ray.config import GemConfig, ObjectiveConfig
from gem_ray.losses.gem import LossTerms, critic_term, discriminator_loss, gem_loss
from gem_ray.models.discriminator import Discriminator
from gem_ray.models.gem import Gem, GemOutputs


@dataclass
class Parts:
    """What a step changes. ``model`` and ``critic`` are what is called, wrapped by DDP on several workers."""

    gem: Gem
    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    autocast: bool
    discriminator: Discriminator | None = None
    critic: nn.Module | None = None
    discriminator_optimizer: torch.optim.Optimizer | None = None


class Inputs(NamedTuple):
    """One rank's share of a step."""

    images: Tensor  # [B, 3, H, W] float in [0, 1]
    noise: Tensor  # [B, L] standard normal, for the reparameterisation
    prior_noise: Tensor | None  # [B, L] samples of the prior, None without the adversarial term
    strength: Tensor  # [K, K] of the DisGraph
    confidence: Tensor  # [K, K]
    scored_images: Tensor | None  # [M, 3, H, W], None before any scan
    targets: Tensor | None  # [M, K] standardised MLLM scores, NaN where missing
    step: int


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
        optimizer=torch.optim.Adam(gem.parameters(), lr=config.train.learning_rate, fused=fused),
        device=device,
        autocast=use_bf16(config.train.precision, device),
    )
    if config.objective.adversarial_weight > 0:
        discriminator = Discriminator(config.model, image_size).to(device)
        discriminator = discriminator.to(memory_format=memory_format)  # type: ignore[call-overload]
        parts.discriminator = parts.critic = discriminator
        parts.discriminator_optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=config.train.discriminator_learning_rate, betas=(0.5, 0.9), fused=fused
        )
    return parts


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether the networks run under bf16 autocast; "auto" asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def train_step(parts: Parts, inputs: Inputs, objective: ObjectiveConfig) -> tuple[LossTerms, Tensor | None, GemOutputs]:
    """Update everything but the critic, then the critic (the two are alternated, see method.md section 2).

    Returns:
        detached loss terms, the critic's loss (None without one) and the outputs of the forward pass
    """
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.autocast):
        outputs: GemOutputs = parts.model(
            inputs.images, inputs.noise, inputs.strength, inputs.scored_images, inputs.prior_noise
        )
    terms = gem_loss(
        outputs,
        inputs.images,
        inputs.strength,
        inputs.confidence,
        inputs.targets,
        _critic_terms(parts, inputs.images, outputs, objective),
        objective,
        inputs.step,
    )
    parts.optimizer.zero_grad(set_to_none=True)
    terms.total.backward()
    parts.optimizer.step()
    critic_loss = _update_critic(parts, inputs.images, outputs)
    return LossTerms(*(term.detach() for term in terms)), critic_loss, outputs


def _critic_terms(parts: Parts, x: Tensor, outputs: GemOutputs, objective: ObjectiveConfig) -> Tensor | None:
    if parts.discriminator is None or outputs.generated_logits is None or outputs.generated_z_rel is None:
        return None
    parts.discriminator.requires_grad_(False)
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.autocast):
        encoder_logits = parts.discriminator(x, outputs.z_rel)
        decoder_logits = parts.discriminator(Gem.images(outputs.generated_logits), outputs.generated_z_rel)
    parts.discriminator.requires_grad_(True)
    return critic_term(encoder_logits, decoder_logits, objective.importance_clamp)


def _update_critic(parts: Parts, x: Tensor, outputs: GemOutputs) -> Tensor | None:
    if parts.critic is None or parts.discriminator_optimizer is None:
        return None
    assert outputs.generated_logits is not None
    assert outputs.generated_z_rel is not None
    pairs = torch.cat([x, Gem.images(outputs.generated_logits).detach()])
    codes = torch.cat([outputs.z_rel.detach(), outputs.generated_z_rel.detach()])
    # One call for both halves: DDP synchronises the gradients of one forward pass.
    with torch.autocast(parts.device.type, torch.bfloat16, enabled=parts.autocast):
        logits = parts.critic(pairs, codes)
    loss = discriminator_loss(*logits.chunk(2))
    parts.discriminator_optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parts.discriminator_optimizer.step()
    return loss.detach()


def step_noise(seed: int, step: int, purpose: int, num_rows: int, width: int) -> Tensor:
    """Standard normal noise [num_rows, width] of one step over all ranks; a pure function of its arguments."""
    state = np.random.SeedSequence([seed, step, purpose]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state) % 2**63)
    return torch.randn(num_rows, width, generator=generator)


def state_tensors(parts: Parts) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(model, optimiser) state as flat named tensors, the critic's beside the model's."""
    model = {f"gem.{name}": tensor for name, tensor in parts.gem.state_dict().items()}
    optimizer = _optimizer_tensors("gem", parts.gem, parts.optimizer)
    if parts.discriminator is not None and parts.discriminator_optimizer is not None:
        model |= {f"discriminator.{name}": tensor for name, tensor in parts.discriminator.state_dict().items()}
        optimizer |= _optimizer_tensors("discriminator", parts.discriminator, parts.discriminator_optimizer)
    return model, optimizer


def load_state_tensors(parts: Parts, model: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
    """The inverse of ``state_tensors``; strict, so a checkpoint of another model fails by name."""
    parts.gem.load_state_dict(_below(model, "gem."))
    _load_optimizer_tensors(parts.gem, parts.optimizer, _below(optimizer, "gem."))
    if parts.discriminator is not None and parts.discriminator_optimizer is not None:
        parts.discriminator.load_state_dict(_below(model, "discriminator."))
        _load_optimizer_tensors(parts.discriminator, parts.discriminator_optimizer, _below(optimizer, "discriminator."))


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
