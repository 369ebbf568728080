"""Relations among a model's own images, read by the shipped MLLM in this process: no deployment need be up.

Three sets of images are read alike: of the data (how well the reader does), of codes whose nodes are each from another
image (what graph and decoder relate), and of codes from the prior. All go through the very estimator of the run.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gem_ray.config import GemConfig
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.data.manifest import Manifest
from gem_ray.evaluation.progress import Say
from gem_ray.graph.relations import relations_from_scores
from gem_ray.scoring.asking.nano_reader import NanoReader
from gem_ray.scoring.looking.codes import DataImages, NewestModel
from gem_ray.scoring.looking.samples import recombined_codes
from gem_ray.storage import Storage

DATA, RECOMBINED, PRIOR = "data images", "recombined images", "prior samples"


def relations_of_own_images(
    newest: NewestModel, data: Storage, manifest: Manifest, config: GemConfig, say: Say
) -> dict[str, NDArray[np.float64]]:
    """Somers' D [K, K] by set of images; empty but for drawn faces, which are all that the shipped MLLM knows.

    ``evaluate.sample_images`` images of each set are drawn from ``evaluate.seed``; 0 reads none.
    """
    num_images, seed, names = config.evaluate.sample_images, config.evaluate.seed, newest.graph.attributes
    if not num_images or manifest.source != "faces" or not set(names) <= set(ATTRIBUTES):
        return {}
    source = DataImages(data, config.data.holdout)
    noise = torch.randn(num_images, newest.model.latent_dim, generator=torch.Generator().manual_seed(seed))
    sets = {
        DATA: source.read(0, min(num_images, source.count))[1],
        RECOMBINED: newest.decode(newest.relate(recombined_codes(newest, source, num_images, seed))),
        PRIOR: newest.decode(newest.relate(noise)),
    }
    say(f"reading {num_images} images of the data, of recombined codes and of the prior with the shipped MLLM")
    reader = NanoReader()
    return {
        name: relations_from_scores(reader.read(images, names), config.scoring.estimator).strength
        for name, images in sets.items()
    }
