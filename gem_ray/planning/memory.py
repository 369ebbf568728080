"""What one training worker holds in memory, by formula and by building the model without memory (meta device)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gem_ray.config import GemConfig
from gem_ray.models.gem import Gem

FLOAT = 4
CHANNELS = 3
STREAM_CACHE = 512 << 20  # scored images that a streaming worker keeps (gem_ray/data/held.py)
# Resident memory of a process that has imported gem_ray.train.worker (torch, Ray, pyarrow) and done nothing: measured.
PROCESS = 733e6


@dataclass(frozen=True, kw_only=True)
class WorkerMemory:
    """Bytes of one training worker; with a GPU the first four lie there, the others on the host."""

    parameters: float
    gradients: float
    optimizer: float
    activations: float
    resident: float
    saving: float
    process: float

    @property
    def on_device(self) -> float:
        """What grows with model and batch."""
        return self.parameters + self.gradients + self.optimizer + self.activations

    @property
    def on_host(self) -> float:
        """What grows with the data, what a checkpoint takes, and the process itself."""
        return self.resident + self.saving + self.process

    def together(self, workers: int, use_gpu: bool) -> float:
        """Bytes that so many of them hold on the host of one node; a checkpoint is written by one."""
        each = self.on_host - self.saving + (0.0 if use_gpu else self.on_device)
        return workers * each + self.saving


def num_parameters(config: GemConfig, image_size: int) -> int:
    """Trained parameters and buffers of the model, counted on the meta device.

    Raises:
        ConfigError: an image size that the networks do not take
    """
    with torch.device("meta"):
        model = Gem(config.model, image_size)
    return sum(tensor.numel() for tensor in model.state_dict().values())


def activation_numbers(config: GemConfig, image_size: int) -> int:
    """Numbers that one image leaves for the backward pass: the output of every layer of encoder and decoder."""
    with torch.device("meta"):
        model = Gem(config.model, image_size)
        counted: list[int] = []
        for module in [*model.encoder.modules(), *model.decoder.modules()]:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.ReLU):
                module.register_forward_hook(lambda _module, _inputs, output: counted.append(output.numel()))
        model.encoder(torch.empty(1, CHANNELS, image_size, image_size))
        model.decoder(torch.empty(1, model.latent_dim))
    return sum(counted)


def data_bytes(num_images: int, image_size: int) -> float:
    """uint8 pixels: images x side^2 x 3."""
    return float(num_images) * image_size**2 * CHANNELS


def is_streamed(config: GemConfig, num_images: int, image_size: int) -> bool:
    """Whether training reads a stream; the rule of ``gem_ray.data.loader.chosen_ingest``."""
    if config.data.ingest != "auto":
        return config.data.ingest == "stream"
    return data_bytes(num_images, image_size) > config.data.memory_limit_gb * 1e9


def worker_memory(config: GemConfig, num_images: int, image_size: int, workers: int) -> WorkerMemory:
    """What one of ``workers`` holds, which take the ``train.num_workers`` lanes of a batch one after the other.

    parameters 4 P; gradients 4 P; Adam's two moments 8 P; activations 4 (B + M) / lanes x A, with A numbers an image
    (``activation_numbers``), B ``data.batch_size`` and M ``objective.align_batch``: an upper bound, since autocast
    keeps half of the bytes. Resident data: from memory all of N x 3 S^2 bytes **in every worker**, whose shuffle
    is over all of them; streamed, for each of its lanes the window in use, the one that is filled and what is read
    ahead (3 x ``window_shards`` x ``shard_mb``), and once the scored images. A checkpoint under way: the copy of
    model and moments and the bytes of its files, 24 P. Critics and perceptual networks are not counted.
    """
    num_lanes = config.train.num_workers
    lanes = -(-num_lanes // workers)
    numbers = num_parameters(config, image_size)
    scored = config.objective.align_batch if config.objective.align_weight > 0 else 0
    images = -(-(config.data.batch_size + scored) // num_lanes)
    window = config.data.window_shards * config.prepare.shard_mb * 1e6
    streamed = is_streamed(config, num_images, image_size)
    return WorkerMemory(
        parameters=FLOAT * numbers,
        gradients=FLOAT * numbers,
        optimizer=2 * FLOAT * numbers,
        activations=float(FLOAT * images * activation_numbers(config, image_size)),
        resident=lanes * 3 * window + STREAM_CACHE if streamed else data_bytes(num_images, image_size),
        saving=2 * 3 * FLOAT * numbers,
        process=PROCESS,
    )


def object_store_bytes(config: GemConfig, num_images: int, image_size: int) -> float:
    """Bytes in Ray's object store: the whole data once while workers copy them, or what a stream has read ahead."""
    if is_streamed(config, num_images, image_size):
        return config.data.window_shards * config.prepare.shard_mb * 1e6
    return data_bytes(num_images, image_size)
