"""A trained GEM model as a plain torch object: encode, decode, edit, traverse, sample. No Ray, no storage.

Images come in any form that ``inputs.to_batch`` takes and go out as float tensors in [0, 1]; one image in, without a
batch dimension, is one image out. Shape suffixes: B images, L latents, K nodes, T positions, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gem_ray.config import StorageConfig
from gem_ray.data.images import ImageShape
from gem_ray.errors import ConfigError
from gem_ray.evaluation.traversals import POSITIONS
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.editing import edited_codes, effect_of, traversed_codes
from gem_ray.inference.inputs import Images, OneImage, to_batch, to_pixels
from gem_ray.inference.reference import PRIOR, ReferenceCodes, RunData, prior_codes
from gem_ray.inference.relations import RelationGraph
from gem_ray.models.gem import Gem
from gem_ray.models.recombination import recombine

BATCH = 256
SAMPLES = 71  # stream of random numbers


class Codes(NamedTuple):
    """What the encoder says about images: [B, L] each, or [L] of one image.

    The first ``num_nodes * node_dim`` latents are the attributes', in their order; the rest is the unnamed residual.
    """

    mu: Tensor  # means of q(z | x): what ``decode`` takes
    logvar: Tensor
    z_rel: Tensor  # the means once the graph has acted: what the decoder sees


class TrainedModel:
    """A model to use. Made by ``gem_ray.load``.

    Args:
        gem: the networks, a torch module; for gradients, fine-tuning or anything that is not offered here
        graph: the DisGraph that training used last
        step: optimiser steps that the model was trained for
        shape: how images of other sizes are cropped and resized
        storage: how image files behind a URI are reached
        codes: gives (mu, logvar, what they are of) of images that training saw; None takes the prior
        data: the prepared data of the run; None where they are not known
    """

    def __init__(
        self,
        gem: Gem,
        graph: DisGraph,
        *,
        step: int,
        shape: ImageShape,
        storage: StorageConfig | None = None,
        codes: Callable[[TrainedModel], tuple[Tensor, Tensor, str]] | None = None,
        data: RunData | None = None,
    ) -> None:
        self.gem = gem.eval().requires_grad_(False)
        self.disgraph, self.step, self.shape, self.data = graph, step, shape, data
        self.strength = torch.tensor(graph.strength, dtype=torch.float32, device=next(gem.parameters()).device)
        self._storage = storage or StorageConfig()
        self._codes = codes

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the nodes: what ``edit`` and ``traverse`` know."""
        return self.disgraph.attributes

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.shape.size

    @property
    def latent_dim(self) -> int:
        """L, latent dimensions in all."""
        return self.gem.latent_dim

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.strength.device

    @property
    def graph(self) -> RelationGraph:
        """The relations, readable: ``print(model.graph)``, ``model.graph["male", "beard"].strength``."""
        acting = self.gem.refined_adjacency(self.strength)
        return RelationGraph(self.disgraph, acting.detach().double().cpu().numpy())

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any weight or edge."""
        digest = hashlib.sha256(self.disgraph.digest().encode())
        for name, tensor in sorted(self.gem.state_dict().items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).tobytes())
        return digest.hexdigest()[:12]

    @cached_property
    def reference(self) -> ReferenceCodes:
        """Codes of images that training saw, measured at first use: units, ranges, and what samples are made of.

        Raises:
            DataError, StorageError: the data of the run cannot be read; see ``gem_ray.load``'s ``reference``
        """
        mu, logvar, source = (*prior_codes(self.latent_dim), PRIOR) if self._codes is None else self._codes(self)
        mu, logvar = mu.to(self.device), logvar.to(self.device)
        return ReferenceCodes(mu, logvar, self.relate(mu), source)

    def to(self, device: str | torch.device) -> TrainedModel:
        """The same model on another device."""
        self.gem.to(device)
        self.strength = self.strength.to(device)
        self.__dict__.pop("reference", None)
        return self

    @torch.no_grad()
    def encode(self, images: Images) -> Codes:
        """Codes of images."""
        batch, single = self._batch(images)
        parts = [self.gem.encode(part.to(self.device)) for part in batch.split(BATCH)]
        mu, logvar = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        codes = Codes(mu, logvar, self.relate(mu))
        return Codes(*(values[0] for values in codes)) if single else codes

    @torch.no_grad()
    def relate(self, z: Tensor) -> Tensor:
        """Codes [..., L] once the graph has acted."""
        return self.gem.relate(z.reshape(-1, self.latent_dim).to(self.device), self.strength).reshape(z.shape)

    @torch.no_grad()
    def decode(self, z: Tensor, through_graph: bool = True) -> Tensor:
        """Images [B, 3, H, W] of codes [B, L]; of one code [L] one image.

        Args:
            through_graph: False where ``z`` is a ``z_rel``, on which the graph has acted already
        """
        if z.shape[-1] != self.latent_dim or z.ndim not in (1, 2):
            raise ConfigError(
                f"codes have the shape [B, {self.latent_dim}] or [{self.latent_dim}], not {list(z.shape)}"
            )
        z_rel = self.relate(z) if through_graph else z.to(self.device)
        batch = z_rel.reshape(-1, self.latent_dim).split(BATCH)
        images = torch.cat([self.gem.images(self.gem.decode(part)) for part in batch])
        return images[0] if z.ndim == 1 else images

    def reconstruct(self, images: Images) -> Tensor:
        """What the model makes of images: the decoder's mean for the encoder's mean."""
        return self.decode(self.encode(images).z_rel, through_graph=False)

    def edit(self, images: Images, changes: Mapping[str, float], propagate: bool = True) -> Tensor:
        """Images with some attributes moved from where they are; all other latents stay as the encoder says.

        Args:
            changes: by attribute, in standard deviations of that node's codes over images that training saw
            propagate: True lets the graph act, so related attributes follow; False gives each named node the very move
                that it makes there, and nothing to the others

        Raises:
            GraphError: an attribute that the model does not know, with those it knows
            ConfigError: a change that is not finite
        """
        return self.decode(self.edited_codes(self.encode(images).mu, changes, propagate), through_graph=False)

    def edited_codes(self, z: Tensor, changes: Mapping[str, float], propagate: bool = True) -> Tensor:
        """The z_rel [..., L] of an edit, from codes of the same shape before the graph has acted."""
        return edited_codes(self, z, changes, propagate)

    def effect(self, images: Images, changes: Mapping[str, float], propagate: bool = True) -> dict[str, float]:
        """How far an edit moves every attribute, on average over images.

        In standard deviations of the codes that the decoder sees (``z_rel``, its node's first dimension). With one
        round of message passing it is the same for every image.
        """
        return effect_of(self, self.encode(images), changes, propagate)

    def traverse(
        self, image: OneImage, attribute: str, positions: int = POSITIONS, propagate: bool = True
    ) -> tuple[Tensor, Tensor]:
        """(images [T, 3, H, W], values [T]) as one node goes over the range that codes of real images take.

        Args:
            positions: T, evenly spaced, from the first to the last percentile of the node's codes
            propagate: as in ``edit``

        Raises:
            GraphError: an attribute that the model does not know
        """
        codes, values = traversed_codes(self, self.encode(image).mu, attribute, positions, propagate)
        return self.decode(codes, through_graph=False), values

    @torch.no_grad()
    def sample(self, count: int = 1, seed: int = 0, prior: bool = False) -> Tensor:
        """Random images [count, 3, H, W]; the same for the same seed.

        Args:
            prior: False takes each node from another real image, so that attributes are as frequent as in the data, and
                relations among them are the model's; True draws codes from the standard normal prior
        """
        if count < 1:
            raise ConfigError(f"{count} samples: ask for at least one")
        rng = np.random.default_rng([seed, SAMPLES])
        if prior:
            z = torch.from_numpy(rng.standard_normal((count, self.latent_dim))).float()
        else:
            seen = self.reference
            z = recombine(seen.mu, seen.logvar, self.gem.config.node_dim, self.gem.named_dim, count, rng)
        return self.decode(z)

    @staticmethod
    def to_pil(images: Tensor) -> list[Image.Image]:
        """Pictures to look at or save."""
        return [Image.fromarray(pixels) for pixels in to_pixels(images[None] if images.ndim == 3 else images)]

    def save(self, folder: str, storage: StorageConfig | None = None) -> None:
        """Write a folder that ``gem_ray.load`` reads without the run or its data; see ``saved.save_model``."""
        from gem_ray.inference.saved import save_model

        save_model(self, folder, storage or self._storage)

    def __repr__(self) -> str:
        return (
            f"TrainedModel(step={self.step}, image_size={self.image_size}, latent_dim={self.latent_dim}, "
            f"attributes={', '.join(self.attributes)})"
        )

    def _batch(self, images: Images) -> tuple[Tensor, bool]:
        return to_batch(images, self.shape, self._storage)
