"""The GEM model: beta-VAE, named nodes, and a graph network between encoder and decoder.

A code has ``num_nodes * node_dim`` named entries, node by node, then ``residual_dim`` unnamed ones that
pass the graph by.

Shape suffixes: B batch, K nodes, D dimensions of a node, L latent dimensions in all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gem_ray.config import ModelConfig
from gem_ray.models.gnn import GraphNetwork
from gem_ray.models.learner import Projections
from gem_ray.models.vae import Decoder, Encoder, reparameterize


class GemOutputs(NamedTuple):
    """What one forward pass gives; ``scored_*``, ``generated_*`` and ``prior_view`` are None where not asked for."""

    logits: Tensor  # [B, 3, H, W] of the reconstruction
    mu: Tensor  # [B, L]
    logvar: Tensor  # [B, L]
    z: Tensor  # [B, L] the samples, before message passing
    z_rel: Tensor  # [B, L]
    adjacency: Tensor  # [K, K] refined strengths, [source, target]
    scored_nodes: Tensor | None  # [M, K] first dimension of each node's mean, for the images with MLLM scores
    scored_nodes_rel: Tensor | None  # [M, K] the same after message passing
    generated_logits: Tensor | None  # [B, 3, H, W] decoded from the prior
    generated_z_rel: Tensor | None  # [B, L]
    prior_view: Tensor | None = None  # [B, K, D] node codes as they would be, had nothing been learned about the graph
    num_named: int = 0  # the first so many of L belong to nodes


class Gem(nn.Module):
    """x -> q(z | x) -> z -> E_gnn over the refined graph -> z_rel -> x_hat.

    The refined adjacency is the DisGraph's strength plus a learned offset: it starts at the prior, follows the prior
    when that changes, and the graph term of the loss pulls the offset to 0 where the prior is sure.

    With ``graph=prior`` nothing is added to the prior, and a single round of message passing has no weights to learn.
    With ``graph=none`` nothing passes between nodes: z_rel = z, the model of the baselines. Where no free offset is
    learned, ``edge_offset`` stays 0 and is a probe, whose gradient tells how the loss hangs on each edge; without a
    graph it is a buffer.
    """

    def __init__(self, config: ModelConfig, image_size: int) -> None:
        super().__init__()
        self.config = config
        self.image_size = image_size
        self.named_dim = config.num_nodes * config.node_dim
        self.latent_dim = self.named_dim + config.residual_dim
        self.encoder = Encoder(config.network, image_size, self.latent_dim, config.width)
        self.decoder = Decoder(config.network, image_size, self.latent_dim, config.width)
        self.graph_network: GraphNetwork | None = None
        self.projections: Projections | None = None
        self.edge_offset: Tensor
        zeros_KK = torch.zeros(config.num_nodes, config.num_nodes)
        if config.graph == "none":
            # Not a parameter: DDP waits for a gradient of every parameter.
            self.register_buffer("edge_offset", zeros_KK)
            return
        self.graph_network = GraphNetwork(
            config.node_dim, config.gnn_layers, config.gnn_hidden, learned=config.graph == "refined"
        )
        self.edge_offset = nn.Parameter(zeros_KK)
        if config.graph == "refined" and config.learner == "projections":
            self.projections = Projections(config.num_nodes, config.learner_rank)

    def forward(
        self,
        x_BCHW: Tensor,
        noise_BL: Tensor,
        strength_KK: Tensor,
        scored_MCHW: Tensor | None = None,
        prior_noise_BL: Tensor | None = None,
        with_prior_view: bool = False,
    ) -> GemOutputs:
        """One pass over a batch, the scored images beside it, and samples of the prior where the critic needs them.

        Args:
            with_prior_view: relate the codes through the prior alone as well, for the contrastive term
        """
        num_images = x_BCHW.shape[0]
        images = x_BCHW if scored_MCHW is None else torch.cat([x_BCHW, scored_MCHW])
        mu, logvar = self.encode(images)
        adjacency_KK = self.refined_adjacency(strength_KK)
        z_BL = reparameterize(mu[:num_images], logvar[:num_images], noise_BL)
        z_rel_BL = self._relate(z_BL, adjacency_KK)
        scored_mu = mu[num_images:] if scored_MCHW is not None else None
        generated_z_rel = None if prior_noise_BL is None else self._relate(prior_noise_BL, adjacency_KK)
        return GemOutputs(
            logits=self.decode(z_rel_BL),
            mu=mu[:num_images],
            logvar=logvar[:num_images],
            z=z_BL,
            z_rel=z_rel_BL,
            adjacency=adjacency_KK,
            scored_nodes=None if scored_mu is None else self.node_codes(scored_mu)[..., 0],
            scored_nodes_rel=(
                None if scored_mu is None else self.node_codes(self._relate(scored_mu, adjacency_KK))[..., 0]
            ),
            generated_logits=None if generated_z_rel is None else self.decode(generated_z_rel),
            generated_z_rel=generated_z_rel,
            prior_view=self.node_codes(self._relate(z_BL, refine(strength_KK))) if with_prior_view else None,
            num_named=self.named_dim,
        )

    def encode(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(mu, logvar) [B, L] of q(z | x) for images in [0, 1]."""
        return self.encoder(x_BCHW)

    def relate(self, z_BL: Tensor, strength_KK: Tensor) -> Tensor:
        """z_rel [B, L]: what the codes show once the relations (prior and learned) have acted."""
        return self._relate(z_BL, self.refined_adjacency(strength_KK))

    def decode(self, z_rel_BL: Tensor) -> Tensor:
        """Logits [B, 3, H, W] of relation-aware codes."""
        return self.decoder(z_rel_BL)

    @staticmethod
    def images(logits_BCHW: Tensor) -> Tensor:
        """Mean images in [0, 1]."""
        return torch.sigmoid(logits_BCHW)

    def refined_adjacency(self, strength_KK: Tensor) -> Tensor:
        """Prior plus learned offset, in [-1, 1], with an empty diagonal; without a graph nothing acts, and it is 0."""
        if self.graph_network is None:
            return torch.zeros_like(strength_KK)
        offset_KK = self.edge_offset if self.projections is None else self.edge_offset + self.projections()
        return refine(strength_KK, offset_KK)

    def trained_parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves: no frozen parameter, and no ``edge_offset`` that is a probe."""
        learned = self.config.graph == "refined" and self.projections is None
        return [p for name, p in self.named_parameters() if p.requires_grad and (learned or name != "edge_offset")]

    def node_codes(self, z_BL: Tensor) -> Tensor:
        """The named part as [B, K, D]."""
        return z_BL[:, : self.named_dim].unflatten(1, (self.config.num_nodes, self.config.node_dim))

    def _relate(self, z_BL: Tensor, adjacency_KK: Tensor) -> Tensor:
        if self.graph_network is None:
            return z_BL.float()
        # Autocast off: six numbers an image cost nothing, and bf16 would blur the edges the whole method is about.
        with torch.autocast(z_BL.device.type, enabled=False):
            related_BKD = self.graph_network(self.node_codes(z_BL.float()), adjacency_KK.float())
            return torch.cat([related_BKD.flatten(1), z_BL[:, self.named_dim :].float()], dim=1)


def refine(strength_KK: Tensor, offset_KK: Tensor | float = 0.0) -> Tensor:
    """The refined adjacency of a prior and a learned offset."""
    off_diagonal = 1.0 - torch.eye(len(strength_KK), device=strength_KK.device)
    return (strength_KK + offset_KK).clamp(-1.0, 1.0) * off_diagonal
