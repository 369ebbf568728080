"""This project's step on the same problem: on one batch, from memory, compiled, and under Ray Train with ingest."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch

from benchmarks.peers.gate import Finished, Gate
from benchmarks.peers.problem import BATCH, LATENTS, RATE, RECORDS, SIDE, bytes_of
from gem_ray.config import DataConfig, GemConfig, ModelConfig, ObjectiveConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.data.batch import to_float
from gem_ray.data.memory import MemoryLoader
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.step import Inputs, build_parts, step_noise, train_step

CPU = torch.device("cpu")
GEM_NODES = 6


def config_of(precision: str = "bf16", compile_: bool = False, relations: bool = False) -> GemConfig:
    """The VAE of the peers, or, with ``relations``, GEM with its graph and its terms on as many latents."""
    train = TrainConfig(precision=precision, compile=compile_, num_workers=1, learning_rate=RATE)
    data, scoring = DataConfig(batch_size=BATCH, holdout=1), ScoringConfig(scorer="none")
    if relations:
        return GemConfig(train=train, data=data, scoring=scoring)
    model = ModelConfig(graph="none", residual_dim=LATENTS - GEM_NODES)
    objective = ObjectiveConfig(graph_weight=0.0, align_weight=0.0, cross_covariance_weight=0.0, kl_warmup_steps=0)
    return GemConfig(train=train, data=data, scoring=scoring, model=model, objective=objective)


def batches_of(folder: str) -> Iterator[torch.Tensor]:
    """Shuffled batches of bytes, as the training loop gets them."""
    rows = torch.from_numpy(bytes_of(folder).reshape(RECORDS, -1))
    loader = MemoryLoader(rows, (SIDE, SIDE, 3), num_train=RECORDS, batch_size=BATCH, seed=0, lane=0, num_lanes=1)
    return (batch.images for batch in loader.batches(0))


def steps(config: GemConfig, batches: Iterator[torch.Tensor], gate: Gate) -> None:
    """Steps of the project on batches of bytes."""
    keep_freed_memory()  # as every worker does
    parts, nodes = build_parts(config, SIDE, CPU), config.model.num_nodes
    for number, images in enumerate(batches):
        inputs = Inputs(
            images=to_float(images, CPU, config.train.channels_last),
            noise=step_noise(0, number, 1, BATCH, parts.gem.latent_dim),
            prior_noise=None,
            strength=torch.zeros(nodes, nodes),
            confidence=torch.zeros(nodes, nodes),
            scored_images=None,
            targets=None,
            step=number,
        )
        train_step(parts, inputs, config.objective)
        gate.passed()


def fp32(folder: str, gate: Gate) -> None:
    """From memory, in fp32."""
    steps(config_of("fp32"), batches_of(folder), gate)


def bf16(folder: str, gate: Gate) -> None:
    """From memory, under bf16 autocast: the default on this processor."""
    steps(config_of(), batches_of(folder), gate)


def compiled(folder: str, gate: Gate) -> None:
    """The same with train.compile=true."""
    steps(config_of(compile_=True), batches_of(folder), gate)


def one_batch(folder: str, gate: Gate) -> None:
    """The bare step: bf16, on one batch again and again."""
    steps(config_of(), itertools.repeat(next(batches_of(folder))), gate)


def gem(folder: str, gate: Gate) -> None:
    """GEM's default objective with its graph, before any scan; the peers have nothing like it."""
    steps(config_of(relations=True), batches_of(folder), gate)


def ray_train(folder: str, gate: Gate) -> None:
    """bf16 under Ray Train, a worker that reads verified shards through Ray Data. The gate is the worker's."""
    import ray.train
    from ray.train.torch import TorchTrainer

    from gem_ray.config_json import config_to_json
    from gem_ray.data.loader import build_datasets
    from gem_ray.data.manifest import read_manifest
    from gem_ray.storage import Storage
    from gem_ray.train.ray_session import ray_session
    from gem_ray.train.trainer import scaling

    config = config_of()
    config.data.uri = f"{folder}/shards"
    config.run = RunConfig(uri=f"{folder}/runs", name="bench-peers")
    data = Storage(config.data.uri, config.storage)
    write_shards(data, bytes_of(folder))
    with ray_session(config):
        TorchTrainer(
            ray_worker,
            train_loop_config={"config": config_to_json(config), "folder": folder, "steps": gate.steps},
            scaling_config=scaling(config),
            run_config=ray.train.RunConfig(name="bench", storage_path=f"{folder}/ray"),
            datasets=build_datasets(data, read_manifest(data), config),
            dataset_config=ray.train.DataConfig(datasets_to_split=[]),
        ).fit()


def ray_worker(settings: dict[str, object]) -> None:
    """The loop of the worker."""
    from gem_ray.config_json import config_from_json
    from gem_ray.data.loader import open_loader

    torch.set_num_threads(1)
    config = config_from_json(str(settings["config"]))
    loader = open_loader(config, 0, 1)
    gate = Gate(str(settings["folder"]), int(str(settings["steps"])))
    with suppress(Finished):
        steps(config, (batch.images for batch in loader.batches(0)), gate)


def write_shards(data: object, images: np.ndarray) -> None:
    """The images as one verified shard."""
    from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
    from gem_ray.data.shards import encode_shard
    from gem_ray.storage import Storage

    assert isinstance(data, Storage)
    shard = encode_shard(images, np.arange(len(images)), None, ())
    data.write_bytes("shard.parquet", shard)
    digest = hashlib.sha256(shard).hexdigest()
    entry = ShardEntry(name="shard.parquet", count=len(images), num_bytes=len(shard), sha256=digest)
    shape = (images.shape[1], images.shape[2], 3)
    manifest = Manifest(
        shape=shape, shards=(entry,), source="faces", attributes=None, seed=0, num_skipped=0, settings={}
    )
    write_manifest(data, manifest)
