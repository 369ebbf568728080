"""How good a run's pictures are: reconstructions one by one, and sets of pictures against the data."""

from __future__ import annotations

import torch
from torch import Tensor

from gem_ray.config import GemConfig
from gem_ray.data.loader import num_train
from gem_ray.data.manifest import Manifest
from gem_ray.data.shards import read_records
from gem_ray.evaluation.evaluate import to_tensor
from gem_ray.evaluation.evaluation_facts import DistanceFacts, ReconstructionFacts
from gem_ray.evaluation.networks import NANO, chosen_network, lpips_network, nano_layers, weights_folder
from gem_ray.evaluation.perception import in_batches, lpips, patch_distance, set_distance
from gem_ray.evaluation.progress import Say
from gem_ray.evaluation.reconstruction import decode_all, encode_all, image_quality
from gem_ray.scoring.looking.codes import NewestModel
from gem_ray.storage import Storage

LEAST_IMAGES = 50


def reconstruction_scores(originals: Tensor, reconstructions: Tensor, config: GemConfig) -> ReconstructionFacts:
    """Fidelity of reconstructions [B, 3, H, W] in [0, 1]; the perceptual ones only where distances are wanted."""
    quality = image_quality(originals, reconstructions)
    perceptual = lpips_value = None
    if config.evaluate.num_images:
        network = lpips_network(weights_folder(config.evaluate))
        lpips_value = None if network is None else lpips(network, originals, reconstructions)
        perceptual = patch_distance(nano_layers(), originals, reconstructions)
    return ReconstructionFacts(
        num_images=len(originals),
        mse=quality.mse,
        psnr_db=quality.psnr_db,
        ssim=quality.ssim,
        explained=quality.explained,
        lpips=lpips_value,
        perceptual=perceptual,
        perceptual_network=None if perceptual is None else NANO,
    )


@torch.no_grad()
def distance_scores(
    newest: NewestModel, data: Storage, manifest: Manifest, config: GemConfig, say: Say
) -> DistanceFacts | None:
    """How far samples and reconstructions are from images of the data, at a fixed number of each.

    The reconstructions are of images that are not in the set they are compared with, and the distance of those images
    themselves stands beside them: a perfect model has it, by chance alone. None where no distances are wanted.

    Raises:
        ConfigError, DataError: see ``chosen_network``
    """
    wanted = config.evaluate
    # Images that training has seen, as usual for FID: it is the distribution that the model was to learn.
    number = min(wanted.num_images, num_train(config.data, manifest) // 2)
    if number < LEAST_IMAGES:
        return None
    network = chosen_network(wanted)
    say(f"distances of {number:,} images each, by the {network.name}")
    records = read_records(data, manifest, 0, 2 * number)
    real = in_batches(network.features, to_tensor(records.images[:number]))
    others = to_tensor(records.images[number:])
    model, strength = newest.model, newest.strength
    noise = torch.randn(number, model.latent_dim, generator=torch.Generator().manual_seed(wanted.seed))
    sets = {
        "samples": decode_all(model, model.relate(noise, strength)),
        "reconstructions": decode_all(model, encode_all(model, others, strength).z_rel),
        "data": others,
    }
    found = {
        name: set_distance(real, in_batches(network.features, images), wanted.seed) for name, images in sets.items()
    }
    return DistanceFacts(
        network=network.name,
        num_images=number,
        frechet={name: distance.frechet for name, distance in found.items()},
        kernel={name: distance.kernel for name, distance in found.items()},
    )
