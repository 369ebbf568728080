"""Critics: D(x, z_rel), whose optimum is log q(x, z) / p(x, z) (DEAR, Shen et al. 2020, which GEM uses), and D(z)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from gem_ray.config import ModelConfig
from gem_ray.models.vae import BOTTOM_SIDE, convolution_plan, convolutions


class LeakyReLU(nn.LeakyReLU):
    """Slope 0.2, as in the discriminators of the field."""

    def __init__(self) -> None:
        super().__init__(0.2)


class Discriminator(nn.Module):
    """Scores pairs of an image and its relation-aware code; positive means "from the encoder"."""

    def __init__(self, config: ModelConfig, image_size: int) -> None:
        super().__init__()
        plan = convolution_plan(config.network, image_size, config.width)
        latent_dim = config.num_nodes * config.node_dim + config.residual_dim
        self.image = nn.Sequential(
            convolutions(plan, LeakyReLU), nn.Linear(plan[-1][0] * BOTTOM_SIDE**2, 256), LeakyReLU()
        )
        self.code = nn.Sequential(nn.Linear(latent_dim, 256), LeakyReLU())
        self.joint = nn.Sequential(nn.Linear(512, 256), LeakyReLU(), nn.Linear(256, 1))

    def forward(self, x_BCHW: Tensor, z_rel_BL: Tensor) -> Tensor:
        """Logits [B] in fp32."""
        pair = torch.cat([self.image(x_BCHW), self.code(z_rel_BL)], dim=1)
        return self.joint(pair).float().squeeze(1)


class LatentCritic(nn.Module):
    """FactorVAE's D(z), whose optimum is log q(z) / prod_k q(z_k): six hidden layers (Kim and Mnih 2018, appendix)."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        sizes = [latent_dim, *[width] * 6]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), LeakyReLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, z_BL: Tensor) -> Tensor:
        """Logits [B] in fp32; positive means "from q(z)"."""
        logits: Tensor = self.layers(z_BL).float().squeeze(1)
        return logits
