"""Ratios of the training loop on two real Ray Train workers: real ingest over memory, graph poller, checkpoints.

In processor time of rank 0, which others on the machine touch less: a worker has a core of its own in earnest. What a
checkpoint takes is mostly waiting, and is read from the clock.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer

from benchmarks.timing import Ratio, Turns, figures, in_turn, spend
from gem_ray.config import DataConfig, GemConfig, PrepareConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.loader import Batch, build_datasets, open_loader
from gem_ray.data.manifest import read_manifest
from gem_ray.data.prepare import prepare
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import start_store
from gem_ray.storage import Storage
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.ray_session import ray_session
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.relation_source import start_poller
from gem_ray.train.run_log import RunLog
from gem_ray.train.saving import Saver
from gem_ray.train.step import build_parts, train_step
from gem_ray.train.trainer import scaling
from gem_ray.train.worker import make_inputs, wrap_for_world

STEPS = 3
RESULT = "result.json"


def training(repeats: int) -> Iterator[Ratio]:
    """All ratios and their controls, measured inside one group of workers."""
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        config = GemConfig(
            run=RunConfig(uri=f"{folder}/runs", name="bench"),
            data=DataConfig(uri=f"{folder}/faces", batch_size=128, holdout=64),
            prepare=PrepareConfig(num_images=2048, shard_mb=8),
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
        content: dict[str, Any] = json.loads(Path(folder, RESULT).read_text())
        yield from summarise({name: Turns(**turns) for name, turns in content.items()}, config)


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
    influence, log = EdgeInfluence(parts.gem.edge_offset), RunLog(run, 0) if rank == 0 else None
    real, counter = loader.batches(0), itertools.count()
    fixed = next(real)

    def steps(next_batch: Callable[[], Batch], feed: RelationFeed, pause_s: float = 0.0) -> None:
        dist.barrier()
        for _ in range(STEPS):
            step = next(counter)
            feed.refresh(step)
            train_step(
                parts, make_inputs(config, parts, feed, loader, next_batch(), step, rank, world), config.objective
            )
            influence.add()
            spend(pause_s)

    def in_memory() -> None:
        steps(lambda: fixed, quiet)

    def timed(next_batch: Callable[[], Batch], feed: RelationFeed) -> Turns:
        return in_turn(lambda p: steps(next_batch, feed, p), in_memory, repeats, STEPS, clock=time.process_time)

    saver = Saver(config, run, parts, quiet, influence, log, report=lambda step: None)

    def save(pause_s: float) -> None:
        saver.begin(next(counter))
        time.sleep(pause_s)

    turns = {"ingest": timed(lambda: next(real), quiet)}
    turns["checkpoint"] = in_turn(save, in_memory, repeats, 1, between=saver.wait)
    saver.wait()
    saver.close()
    poller = start_poller(config, run, 0) if rank == 0 else None
    followed = RelationFeed(start, device, config.graph.refresh_every_steps, poller)
    turns["poller"] = timed(lambda: fixed, followed)
    if poller and log:
        poller.close()
        log.close()
        Path(str(settings["folder"]), RESULT).write_text(json.dumps({name: asdict(t) for name, t in turns.items()}))


def summarise(turns: dict[str, Turns], config: GemConfig) -> Iterator[Ratio]:
    """Name what was timed."""
    units = STEPS * config.data.batch_size // config.train.num_workers
    what = "training with real ingest over the same step on one batch in memory, 64x64, a worker of 2"
    yield from figures("ingest", what, turns["ingest"], units, "images/CPU s", 0.95)
    yield from figures("graph_poller", "graph poller on over off", turns["poller"], units, "images/CPU s", 0.99)
    every, saved = TrainConfig().checkpoint_every_steps, turns["checkpoint"]
    what = f"training with a checkpoint every {every} steps, the default, over none; reckoned from what steps wait for"
    yield from figures("checkpoint", what, with_checkpoints(saved, every / STEPS), every, "steps/s", 0.98)


def with_checkpoints(saved: Turns, segments: float) -> Turns:
    """Seconds of so many segments of steps with a checkpoint, without, and with one that takes as long as they do.

    Args:
        saved: seconds of a checkpoint (A) and of a segment (B)
    """
    without = [segments * seconds for seconds in saved.b]
    withal = [steps + checkpoint for steps, checkpoint in zip(without, saved.a, strict=True)]
    return Turns(withal, without, [2 * seconds for seconds in without], 1.0)
