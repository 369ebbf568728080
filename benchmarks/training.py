"""Ratios of the training loop on two real Ray Train workers: ingest over one batch, graph poller, checkpoints.

By the clock, since a step that waits for its batch or its checkpoint uses no processor; only what the graph poller
costs, which is too little to be seen so, is read from the processor time of rank 0 between the steps.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train.torch import TorchTrainer

from benchmarks.synthetic import write_random_shards
from benchmarks.timing import Ratio, Turns, figures, in_turn, ratio, seconds, spend
from gem_ray.config import DataConfig, GemConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.ahead import ahead
from gem_ray.data.loader import Batch, Loader, build_datasets, open_loader
from gem_ray.data.manifest import read_manifest
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import start_store
from gem_ray.storage import Storage
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.ray_session import ray_session
from gem_ray.train.relation_feed import RelationFeed, RelationPoller, without_scores
from gem_ray.train.relation_source import start_poller
from gem_ray.train.run_log import RunLog
from gem_ray.train.saving import Saver
from gem_ray.train.step import build_parts, train_step
from gem_ray.train.trainer import scaling
from gem_ray.train.worker import make_inputs, wrap_for_world

STEPS, FEW_STEPS = 12, 3  # of a segment by the clock, and by processor time
SILENCE_S, FEW_PLANTED = 4.0, 0.04  # polls by the second; a control that moves where a hundredth would be seen
SIDE, SHARDS, PER_SHARD = 64, 20, 1024  # an epoch is longer than all segments of a stream: each begins with a start
RESULT = "result.json"


def training(repeats: int) -> Iterator[Ratio]:
    """All ratios and their controls, measured inside one group of workers."""
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        config = GemConfig(
            run=RunConfig(uri=f"{folder}/runs", name="bench"),
            data=DataConfig(uri=f"{folder}/faces", batch_size=128, holdout=64),
            scoring=ScoringConfig(scorer="none"),
        )
        data, run = Storage(config.data.uri, config.storage), Storage(f"{config.run.uri}/bench", config.storage)
        with ray_session(config):
            write_random_shards(data, SHARDS, PER_SHARD, SIDE)
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
    loader, resident, shards = sources(config, rank, world)
    parts = build_parts(config, loader.image_size, device)
    wrap_for_world(parts)
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    start = without_scores(DisGraph.empty(tuple(config.model.attributes)))
    quiet = RelationFeed(start, device, config.graph.refresh_every_steps)
    influence, log = EdgeInfluence(parts.gem.edge_offset), RunLog(run, 0) if rank == 0 else None
    counter, fixed = itertools.count(), next(resident)

    def steps(
        next_batch: Callable[[], Batch], feed: RelationFeed = quiet, pause_s: float = 0.0, count: int = STEPS
    ) -> None:
        dist.barrier()
        for _ in range(count):
            step = next(counter)
            feed.refresh(step)
            train_step(
                parts, make_inputs(config, parts, feed, loader, next_batch(), step, rank, world), config.objective
            )
            influence.add()
            spend(pause_s)

    saver = Saver(config, run, parts, quiet, influence, log, report=lambda step: None)

    def beside_a_save(pause_s: float) -> None:
        saver.begin(next(counter))
        steps(lambda: fixed, pause_s=pause_s)

    timed: dict[str, Callable[[float], None]] = {
        "ingest": lambda pause_s: steps(lambda: next(resident), pause_s=pause_s),
        "stream": lambda pause_s: steps(lambda: next(shards), pause_s=pause_s),
        "checkpoint": beside_a_save,
    }
    turns = {
        name: in_turn(a, lambda: steps(lambda: fixed), repeats, STEPS, between=saver.wait) for name, a in timed.items()
    }
    saver.wait()
    saver.close()
    for batches in (resident, shards):
        batches.close()
    turns["poller"] = followed_in_turn(
        lambda: steps(lambda: fixed, count=FEW_STEPS), lambda: start_poller(config, run, 0), repeats, rank
    )
    if log:
        log.close()
        Path(str(settings["folder"]), RESULT).write_text(json.dumps({name: asdict(t) for name, t in turns.items()}))


def followed_in_turn(steps: Callable[[], None], start: Callable[[], RelationPoller], repeats: int, rank: int) -> Turns:
    """Processor time of steps, of the same with what a poller uses in as long, and with a little planted in it.

    A hundredth cannot be seen in steps, which differ by more: what the poller uses is read while no step runs.
    """
    turns = Turns([], [], [], FEW_PLANTED)
    for number in range(repeats + 1):
        cpu_s = 0.0

        def timed() -> None:
            nonlocal cpu_s
            cpu_s = seconds(steps, time.process_time)

        wall_s = seconds(timed)
        if rank > 0 or number == 0:
            continue
        idle_s = used_in_silence()
        poller = start()
        followed_s, planted_s = used_in_silence(), used_in_silence(FEW_PLANTED * cpu_s * SILENCE_S / wall_s)
        poller.close()
        turns.b.append(cpu_s)
        turns.a.append(cpu_s + (followed_s - idle_s) * wall_s / SILENCE_S)
        turns.planted.append(cpu_s + (planted_s - idle_s) * wall_s / SILENCE_S)
    return turns


def used_in_silence(planted_s: float = 0.0) -> float:
    """Processor time that this process uses in ``SILENCE_S`` without steps, and with some of it planted."""
    end, began = time.monotonic() + SILENCE_S, time.process_time()
    spend(planted_s)
    time.sleep(max(0.0, end - time.monotonic()))
    return time.process_time() - began


def sources(
    config: GemConfig, rank: int, world: int
) -> tuple[Loader, Generator[Batch, None, None], Generator[Batch, None, None]]:
    """The loader of resident shards, its batches, and those of a stream; both made ahead as in training."""
    resident = open_loader(config, rank, world)
    streamed = open_loader(replace(config, data=replace(config.data, ingest="stream")), rank, world)
    return resident, ahead(resident.batches(0)), ahead(streamed.batches(0))


def summarise(turns: dict[str, Turns], config: GemConfig) -> Iterator[Ratio]:
    """Name what was timed."""
    images = config.data.batch_size // config.train.num_workers
    for name, source in (("ingest", "resident shards"), ("ingest_stream", "shards streamed through Ray Data")):
        what = f"training on {source} over the same step on one batch, 64x64, a worker of 2"
        yield from figures(name, what, turns[name.removeprefix("ingest_")], STEPS * images, "images/s", 0.95)
    what = "steps with what the graph poller uses beside them over the same steps alone"
    yield from figures("graph_poller", what, turns["poller"], FEW_STEPS * images, "images/CPU s", 0.99)
    saved, every = turns["checkpoint"], TrainConfig().checkpoint_every_steps
    what = f"{STEPS} steps while a checkpoint is written over {STEPS} without"
    yield from figures("beside_a_save", what, saved, STEPS, "steps/s")
    what = f"training with a checkpoint every {every} steps, the default, over none, reckoned from beside_a_save"
    yield ratio("checkpoint", what, with_checkpoints(saved, every / STEPS), every, "steps/s", 0.98)


def with_checkpoints(saved: Turns, segments: float) -> tuple[list[float], list[float]]:
    """Seconds of so many segments of steps with one checkpoint, and without.

    Args:
        saved: seconds of a segment in which a checkpoint is written (A) and of one without (B)
    """
    withal = [segments * without + beside - without for beside, without in zip(saved.a, saved.b, strict=True)]
    return withal, [segments * without for without in saved.b]
