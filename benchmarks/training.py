"""Ratios of the training loop on two real Ray Train workers: real ingest over memory, graph poller on over off."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer

from benchmarks.timing import Ratio, pair, ratio
from gem_ray.config import DataConfig, GemConfig, PrepareConfig, RunConfig, ScoringConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.loader import Batch, build_datasets, open_loader
from gem_ray.data.prepare import prepare
from gem_ray.data.shards import read_manifest
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import start_store
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.relation_source import start_poller
from gem_ray.train.step import build_parts, train_step
from gem_ray.train.trainer import scaling
from gem_ray.train.worker import make_inputs, wrap_for_world

STEPS = 12
RESULT = "result.json"


def training(repeats: int) -> Iterator[Ratio]:
    """Both ratios and their controls, measured inside one group of workers."""
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        config = GemConfig(
            run=RunConfig(uri=f"{folder}/runs", name="bench"),
            data=DataConfig(uri=f"{folder}/faces", batch_size=128, holdout=64),
            prepare=PrepareConfig(num_images=4096, shard_mb=8),
            scoring=ScoringConfig(scorer="none"),
        )
        data, run = Storage(config.data.uri, config.storage), Storage(f"{config.run.uri}/bench", config.storage)
        with ray_session(config):
            prepare(config)
            store = start_store(run, config.run.name, tuple(config.model.attributes), config.graph)
            try:
                TorchTrainer(
                    worker,
                    train_loop_config={"config": config_to_json(config), "repeats": repeats, "folder": folder},
                    scaling_config=scaling(config),
                    run_config=ray.train.RunConfig(name="bench", storage_path=folder),
                    datasets=build_datasets(data, read_manifest(data), config),
                    dataset_config=ray.train.DataConfig(datasets_to_split=[]),
                ).fit()
            finally:
                store.stop()
        yield from summarise(json.loads(Path(folder, RESULT).read_text()), config.data.batch_size)


def worker(settings: dict[str, object]) -> None:
    """Times segments of steps on every rank; rank 0 writes the seconds."""
    config = config_from_json(str(settings["config"]))
    repeats = int(str(settings["repeats"]))
    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    device = ray.train.torch.get_device()
    torch.set_num_threads(1)
    loader = open_loader(config, rank, world)
    parts = build_parts(config, loader.image_size, device)
    wrap_for_world(parts)
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    start = without_scores(DisGraph.empty(tuple(config.model.attributes)))
    quiet = RelationFeed(start, device, config.graph.refresh_every_steps)
    real, counter = loader.batches(0), itertools.count()
    fixed = next(real)

    def steps(next_batch: Callable[[], Batch], feed: RelationFeed, pause_s: float = 0.0) -> Callable[[], None]:
        def segment() -> None:
            dist.barrier()
            for _ in range(STEPS):
                step = next(counter)
                feed.refresh(step)
                train_step(
                    parts, make_inputs(config, parts, feed, loader, next_batch(), step, rank, world), config.objective
                )
                time.sleep(pause_s)

        return segment

    in_memory = steps(lambda: fixed, quiet)
    times = {"ingest": pair(steps(lambda: next(real), quiet), in_memory, repeats)}
    times["ingest_control"] = pair(steps(lambda: next(real), quiet, pause_s=0.03), in_memory, repeats)
    poller = start_poller(config, run, 0) if rank == 0 else None
    times["poller"] = pair(steps(lambda: fixed, RelationFeed(start, device, 10, poller)), in_memory, repeats)
    if poller:
        poller.close()
        Path(str(settings["folder"]), RESULT).write_text(json.dumps(times))


def summarise(times: dict[str, tuple[list[float], list[float]]], batch: int) -> Iterator[Ratio]:
    """Name what was timed."""
    units = STEPS * batch
    what = "training with real ingest over the same step on one batch in memory, 64x64, 2 workers"
    yield ratio("ingest", what, times["ingest"], units, "images/s", target=0.95)
    what = "the same with 30 ms planted in a step"
    yield ratio("ingest_control", what, times["ingest_control"], units, "images/s", expect=0.9)
    yield ratio("graph_poller", "graph poller on over off", times["poller"], units, "images/s", target=0.99)
