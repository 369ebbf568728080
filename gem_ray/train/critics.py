"""The critics of a step, in plain torch: each is held fixed while the model learns from it, then learns itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gem_ray.config import GemConfig, ObjectiveConfig
from gem_ray.losses.gem import critic_term, discriminator_loss
from gem_ray.losses.total_correlation import critic_loss, permute_dimensions
from gem_ray.models.discriminator import Discriminator, LatentCritic
from gem_ray.models.gem import Gem, GemOutputs


@dataclass
class Critic:
    """A critic and its optimiser; ``called`` is ``module``, wrapped by DDP on several workers."""

    module: nn.Module
    called: nn.Module
    optimizer: torch.optim.Optimizer

    @contextmanager
    def held(self) -> Iterator[nn.Module]:
        """The critic with its parameters held fixed, so that a backward pass goes through it and not into it."""
        self.module.requires_grad_(False)
        try:
            yield self.module
        finally:
            self.module.requires_grad_(True)

    def descend(self, losses: Sequence[Callable[[], Tensor]]) -> Tensor:
        """One step of the optimiser on the sum of the lanes' losses; returns the sum."""
        self.optimizer.zero_grad(set_to_none=True)
        values = []
        for number, loss in enumerate(losses, 1):
            with exchanging(self.called, number == len(losses)):
                value = loss()
                value.backward()
            values.append(value.detach())
        self.optimizer.step()
        return torch.stack(values).sum()


def exchanging(called: nn.Module, with_others: bool) -> AbstractContextManager[None]:
    """Around forward and backward of one lane: DDP adds up the ranks' gradients ``with_others``, else lets them lie."""
    if with_others or not isinstance(called, DistributedDataParallel):
        return nullcontext()
    lying: AbstractContextManager[None] = called.no_sync()
    return lying


def build_critics(
    config: GemConfig, gem: Gem, device: torch.device, memory_format: torch.memory_format
) -> dict[str, Critic]:
    """The critics that the objective asks for: ``discriminator`` (on x and z_rel) and ``latent_critic`` (on z)."""
    modules: dict[str, nn.Module] = {}
    if config.objective.adversarial_weight > 0:
        modules["discriminator"] = Discriminator(config.model, gem.image_size).to(device)
        modules["discriminator"].to(memory_format=memory_format)  # type: ignore[call-overload]
    if config.objective.total_correlation == "critic":
        modules["latent_critic"] = LatentCritic(gem.latent_dim, config.objective.latent_critic_width).to(device)
    rate, fused = config.train.discriminator_learning_rate, config.train.fused_adam
    return {
        name: Critic(module, module, torch.optim.Adam(module.parameters(), lr=rate, betas=(0.5, 0.9), fused=fused))
        for name, module in modules.items()
    }


def joint_terms(critic: Critic | None, x: Tensor, outputs: GemOutputs, objective: ObjectiveConfig) -> Tensor | None:
    """L_enc + L_dec of the critic on (x, z_rel); None without one."""
    if critic is None or outputs.generated_logits is None or outputs.generated_z_rel is None:
        return None
    with critic.held() as fixed:
        encoder_logits = fixed(x, outputs.z_rel)
        decoder_logits = fixed(Gem.images(outputs.generated_logits), outputs.generated_z_rel)
    return critic_term(encoder_logits, decoder_logits, objective.importance_clamp)


def latent_logits(critic: Critic | None, outputs: GemOutputs) -> Tensor | None:
    """Logits [B] of the critic on z; None without one."""
    if critic is None:
        return None
    with critic.held() as fixed:
        logits: Tensor = fixed(outputs.z)
    return logits


def joint_loss(critic: Critic, x: Tensor, outputs: GemOutputs, objective: ObjectiveConfig) -> Tensor:
    """What the critic on (x, z_rel) descends: l_adv L_D."""
    assert outputs.generated_logits is not None
    assert outputs.generated_z_rel is not None
    pairs = torch.cat([x, Gem.images(outputs.generated_logits).detach()])
    codes = torch.cat([outputs.z_rel.detach(), outputs.generated_z_rel.detach()])
    # One call for both halves: DDP synchronises the gradients of one forward pass.
    return objective.discriminator_weight * discriminator_loss(*critic.called(pairs, codes).chunk(2))


def latent_loss(critic: Critic, outputs: GemOutputs, noise_BL: Tensor) -> Tensor:
    """What the critic on z descends: one half of the batch as it is, the other with each latent shuffled on its own.

    Args:
        noise_BL: any continuous noise; its order in each column is the shuffle
    """
    joint, other = outputs.z.detach().float().chunk(2)
    shuffled = permute_dimensions(other, noise_BL[: len(other)].argsort(dim=0))
    logits = critic.called(torch.cat([joint, shuffled]))
    return critic_loss(logits[: len(joint)], logits[len(joint) :])
