"""Images of random codes: what the model shows, by the statistic that is computed of the data.

Of every named node the value is that of an image of the data, another image for each node; then the graph acts, and the
picture is decoded. Nodes so drawn have the frequencies of the data, on which Somers' D depends, and nothing in common:
relations among the pictures are those that graph and decoder make. Codes of whole images would not do: the encoder has
written their relations into them, and most of each comes back even where the graph is cut out. Draws from the prior
come out alike, but with attributes twice as often or more (bald, blond) and many half-drawn ones, as no data have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.models.recombination import recombine
from gem_ray.scoring.looking.codes import ImageSource, NewestModel, newest_model, read_some
from gem_ray.storage import Storage


@dataclass(frozen=True)
class Samples:
    """Random images of one checkpoint.

    Args:
        step: of the checkpoint
        graph_version: of the graph it was decoded through
        images: uint8 [N, H, W, 3]
    """

    step: int
    graph_version: int
    images: NDArray[np.uint8]


class CheckpointSamples:
    """Draws samples of a run's newest checkpoint, on the CPU.

    Args:
        run: the run's folder
        images: of the data, whose codes the samples are put together from
    """

    def __init__(self, run: Storage, images: ImageSource) -> None:
        self._run, self._images = run, images

    def draw(self, num_images: int, seed: int) -> Samples | None:
        """Samples of a seed; None where there is no checkpoint.

        Raises:
            DataError: the checkpoint is damaged, or there are no images
        """
        newest = newest_model(self._run)
        if newest is None:
            return None
        codes = recombined_codes(newest, self._images, num_images, seed)
        return Samples(newest.step, newest.graph.version, newest.decode(newest.relate(codes)))


def recombined_codes(newest: NewestModel, images: ImageSource, num_codes: int, seed: int) -> Tensor:
    """Codes [num_codes, L] whose nodes are each from another image, and whose residual latents are all of one.

    They are draws from the codes' distribution (with its noise), which is what the decoder was trained on.
    """
    rng = np.random.default_rng([seed, 7])
    mu, logvar = newest.encode(read_some(images, rng))
    return recombine(mu, logvar, newest.model.config.node_dim, newest.model.named_dim, num_codes, rng)
