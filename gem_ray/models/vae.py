"""Encoder and decoder of the beta-VAE.

Networks: "locatello" (Locatello et al. 2019, after Higgins et al. 2017) and "burgess" (Burgess et al. 2018), both
written for 64x64 and continued by one stride-2 convolution for every doubling of the side.

Shape suffixes: B batch, C channels, H height, W width, L latent dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gem_ray.errors import ConfigError

SMALLEST_SIDE, BOTTOM_SIDE = 32, 4


def convolution_plan(network: str, image_size: int, width: int) -> list[tuple[int, int]]:
    """(channels, kernel) of the encoder's stride-2 convolutions, from the image down to 4x4.

    Raises:
        ConfigError: a side that is not a power of two of at least 32
    """
    if image_size < SMALLEST_SIDE or image_size & (image_size - 1):
        raise ConfigError(
            f"image_size={image_size}: the networks need a power of two of at least {SMALLEST_SIDE} "
            "(prepare the data again with another prepare.image_size)"
        )
    bottom = [(64, 2), (64, 2)] if network == "locatello" else [(32, 4), (32, 4)]
    num_halvings = (image_size // BOTTOM_SIDE).bit_length() - 1
    plan = [(32, 4)] * (num_halvings - len(bottom)) + bottom
    return [(channels * width, kernel) for channels, kernel in plan]


def convolutions(plan: list[tuple[int, int]], activation: type[nn.Module]) -> nn.Sequential:
    """[B, 3, H, W] -> [B, flat]: the plan's convolutions, each with its activation, flattened."""
    layers: list[nn.Module] = []
    channels_in = 3
    for channels, kernel in plan:
        layers += [nn.Conv2d(channels_in, channels, kernel, stride=2, padding=(kernel - 2) // 2), activation()]
        channels_in = channels
    return nn.Sequential(*layers, nn.Flatten())


class Encoder(nn.Module):
    """x_BCHW in [0, 1] -> (mu_BL, logvar_BL) of q(z | x)."""

    def __init__(self, network: str, image_size: int, latent_dim: int, width: int = 1) -> None:
        super().__init__()
        plan = convolution_plan(network, image_size, width)
        self.convolutions = convolutions(plan, nn.ReLU)
        flat = plan[-1][0] * BOTTOM_SIDE**2
        hidden: list[nn.Module] = [nn.Linear(flat, 256), nn.ReLU()]
        if network == "burgess":
            hidden += [nn.Linear(256, 256), nn.ReLU()]
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(256, 2 * latent_dim)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance in fp32, whatever the autocast."""
        mu_BL, logvar_BL = self.head(self.hidden(self.convolutions(x_BCHW))).float().chunk(2, dim=1)
        # exp(logvar) of an untrained network on odd input must not overflow before the KL term has acted.
        return mu_BL, logvar_BL.clamp(-12.0, 8.0)


class Decoder(nn.Module):
    """z_BL -> logits_BCHW; the mirror image of the encoder."""

    def __init__(self, network: str, image_size: int, latent_dim: int, width: int = 1) -> None:
        super().__init__()
        plan = convolution_plan(network, image_size, width)
        bottom = plan[-1][0]
        hidden: list[nn.Module] = [nn.Linear(latent_dim, 256), nn.ReLU()]
        if network == "burgess":
            hidden += [nn.Linear(256, 256), nn.ReLU()]
        hidden += [
            nn.Linear(256, bottom * BOTTOM_SIDE**2),
            nn.ReLU(),
            nn.Unflatten(1, (bottom, BOTTOM_SIDE, BOTTOM_SIDE)),
        ]
        channels = [width * (64 if network == "locatello" else 32)] + [32 * width] * (len(plan) - 2)
        layers: list[nn.Module] = []
        for channels_out in channels:
            layers += [nn.ConvTranspose2d(bottom, channels_out, 4, stride=2, padding=1), nn.ReLU()]
            bottom = channels_out
        self.hidden = nn.Sequential(*hidden)
        self.convolutions = nn.Sequential(*layers, nn.ConvTranspose2d(bottom, 3, 4, stride=2, padding=1))

    def forward(self, z_BL: Tensor) -> Tensor:
        """Logits in fp32; ``sigmoid`` makes the image."""
        return self.convolutions(self.hidden(z_BL)).float()


def reparameterize(mu_BL: Tensor, logvar_BL: Tensor, noise_BL: Tensor) -> Tensor:
    """z = mu + exp(logvar / 2) * noise (Kingma and Welling 2014)."""
    return mu_BL + torch.exp(0.5 * logvar_BL) * noise_BL
