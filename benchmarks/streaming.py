"""Ratios of the stream through Ray Data: over torch's DataLoader, from S3 over from files, and resumed over begun.

Whole epochs are compared in the processor time of all processes, since each is a matter of many of them that share the
machine with whatever else runs; what waits for something is compared by the clock.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from benchmarks.processes import tree_cpu_s
from benchmarks.static_server import served
from benchmarks.synthetic import single_stream, write_random_shards
from benchmarks.timing import Ratio, figures, in_turn, spend
from gem_ray.config import GemConfig, ScoringConfig, StorageConfig
from gem_ray.data.ahead import ahead
from gem_ray.data.manifest import Manifest
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session

SIDE, BATCH = 64, 256
SHARDS, PER_SHARD = 16, 1024
BATCHES = SHARDS * PER_SHARD // BATCH
WORKERS = 2
STEP_S = 0.02
PLANTED = 0.6  # Ray's own processes work beside what is timed
Batches = Callable[[], Iterator[object]]


class ParquetShards(IterableDataset[torch.Tensor]):
    """What one writes first: each worker of the DataLoader reads its shards and shuffles inside each.

    Args:
        paths: of the shards, with the SHA-256 that each is held against, or None
    """

    def __init__(self, paths: list[tuple[Path, str | None]]) -> None:
        self._paths = paths

    def __iter__(self) -> Iterator[torch.Tensor]:
        worker = get_worker_info()
        assert worker is not None
        for path, digest in self._paths[worker.id :: worker.num_workers]:
            encoded = path.read_bytes()
            assert digest is None or hashlib.sha256(encoded).hexdigest() == digest
            column = pq.read_table(io.BytesIO(encoded))["pixels"].combine_chunks()
            rows = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, SIDE * SIDE * 3)
            order = np.random.default_rng(0).permutation(len(rows))
            for first in range(0, len(rows), BATCH):
                yield torch.from_numpy(rows[order[first : first + BATCH]]).view(-1, SIDE, SIDE, 3).permute(0, 3, 1, 2)


def streaming(repeats: int) -> Iterator[Ratio]:
    """All ratios on one set of shards of random pixels, in one Ray."""
    torch.set_num_threads(1)
    config = GemConfig(scoring=ScoringConfig(scorer="none"))
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder, ray_session(config):
        local = Storage(f"{folder}/bucket/data", StorageConfig())
        manifest = write_random_shards(local, SHARDS, PER_SHARD, SIDE)
        shards = [(Path(folder, "bucket/data", shard.name), shard.sha256) for shard in manifest.shards]
        ours = epoch_of(local, manifest)
        yield from against_torch(ours, shards, repeats)
        with served(Path(folder)) as url:
            remote = Storage("s3://bucket/data", StorageConfig(endpoint_url=url, anonymous=True, region="us-east-1"))
            yield from from_s3(epoch_of(remote, manifest), ours, repeats)
        yield from resuming(local, manifest, repeats)


def epoch_of(data: Storage, manifest: Manifest, first: float = 0.0) -> Batches:
    """One epoch of the project's stream, from a part of it on."""

    def batches() -> Iterator[object]:
        stream = single_stream(data, manifest, BATCH)
        start = int(first * stream.steps_per_epoch)
        made = itertools.islice(stream.batches(start), stream.steps_per_epoch - start)  # none of the next epoch
        with closing(ahead(made)) as batches:
            yield from batches

    return batches


def drain(batches: Batches, pause_s: float = 0.0) -> None:
    """Take all batches."""
    for _ in batches():
        spend(pause_s)


def against_torch(ours: Batches, shards: list[tuple[Path, str]], repeats: int) -> Iterator[Ratio]:
    """An epoch as fast as it goes, its start included; and one between steps, from the first batch on."""

    def theirs(verify: bool = False) -> Iterator[object]:
        paths = [(path, digest if verify else None) for path, digest in shards]
        return iter(DataLoader(ParquetShards(paths), None, num_workers=WORKERS))

    turns = in_turn(lambda p: drain(ours, p), lambda: drain(theirs), repeats, BATCHES, PLANTED, tree_cpu_s)
    what = f"an epoch of verified shards through Ray Data over a DataLoader of {WORKERS} workers that verifies nothing"
    yield from figures("stream_epoch", what, turns, BATCHES * BATCH, "images/CPU s")
    turns = in_turn(
        lambda p: drain(ours, p), lambda: drain(lambda: theirs(True)), repeats, BATCHES, PLANTED, tree_cpu_s
    )
    what = "the same over such a DataLoader that verifies as much: a SHA-256 of each shard"
    yield from figures("stream_verified_epoch", what, turns, BATCHES * BATCH, "images/CPU s", 0.7)

    clock = StepClock()
    turns = in_turn(lambda p: clock.steps(ours, p), lambda: clock.steps(theirs), repeats, BATCHES, clock=clock.now)
    what = f"the same between steps of {1000 * STEP_S:g} ms, from the first batch on"
    yield from figures("stream_between_steps", what, turns, BATCHES, "steps/s", 1.0)


def from_s3(remote: Batches, local: Batches, repeats: int) -> Iterator[Ratio]:
    """Between steps, where reading ahead hides what it takes; and all that it takes, the server's own time too."""
    clock = StepClock()
    turns = in_turn(lambda p: clock.steps(remote, p), lambda: clock.steps(local), repeats, BATCHES, clock=clock.now)
    what = f"steps of {1000 * STEP_S:g} ms fed from S3 (a static server on loopback) over such fed from files"
    yield from figures("stream_s3_between_steps", what, turns, BATCHES, "steps/s", 0.8)
    turns = in_turn(lambda p: drain(remote, p), lambda: drain(local), repeats, BATCHES, PLANTED, tree_cpu_s)
    what = "an epoch streamed from S3, the server's time counted in, over the same from files"
    yield from figures("stream_s3", what, turns, BATCHES * BATCH, "images/CPU s")


class StepClock:
    """Seconds of training from the first batch on: what a start takes is shown by other figures."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def now(self) -> float:
        """Seconds so far."""
        return self._seconds

    def steps(self, batches: Batches, pause_s: float = 0.0) -> None:
        """A pause in place of a step for each batch."""
        started: float | None = None
        for _ in batches():
            started = time.perf_counter() if started is None else started
            time.sleep(STEP_S + pause_s)
        assert started is not None
        self._seconds += time.perf_counter() - started


def resuming(data: Storage, manifest: Manifest, repeats: int) -> Iterator[Ratio]:
    """Seconds to the first batch."""

    def first(part: float, pause_s: float = 0.0) -> None:
        batches = epoch_of(data, manifest, part)()
        next(batches)
        time.sleep(pause_s)
        batches.close()  # type: ignore[attr-defined]

    turns = in_turn(lambda pause_s: first(0.9, pause_s), lambda: first(0.0), repeats, 1)
    what = "first batch of a stream resumed at .9 of an epoch over that of one begun"
    yield from figures("stream_resume", what, turns, 1, "starts/s", 0.5)
