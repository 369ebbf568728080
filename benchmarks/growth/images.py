"""Costs by the number of images: an epoch's seconds and the memory of the trainer, streaming and resident."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pyarrow as pa
import torch

from benchmarks.growth.fits import Curve
from benchmarks.synthetic import single_stream, write_random_shards
from gem_ray.config import DataConfig, GemConfig, ScoringConfig, StorageConfig
from gem_ray.data.manifest import Manifest
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.data.order import Piece
from gem_ray.data.reading import read_piece
from gem_ray.data.stream import StreamLoader
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session

SIDE, BATCH = 16, 256  # small images: records are what is counted, and a million of 64 px are 12 GB
PER_SHARD = 8_192


def by_images(counts: Sequence[int]) -> list[Curve]:
    """An epoch of each loader, and how far the process grew in it, in MB."""
    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in ("stream_s", "stream_mb", "memory_s", "memory_mb", "start_s")}
    config = GemConfig(scoring=ScoringConfig(scorer="none"), data=DataConfig())
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder, ray_session(config):
        for count in counts:
            data = Storage(str(Path(folder, str(count))), StorageConfig())
            per_shard = min(PER_SHARD, count)
            manifest = write_random_shards(data, count // per_shard, per_shard, SIDE)
            stream = single_stream(data, manifest, BATCH)
            _, started_s = taken(lambda stream=stream: first_of(stream))  # type: ignore[misc]
            grown_mb, seconds = taken(lambda stream=stream: epoch_of(stream))  # type: ignore[misc]
            found["start_s"].append(started_s)
            found["stream_s"].append(seconds)
            found["stream_mb"].append(grown_mb)
            grown_mb, seconds = resident(data, manifest)
            found["memory_s"].append(seconds)
            found["memory_mb"].append(grown_mb)
    x, sizes = f"images of {SIDE} px", tuple(map(float, counts))
    plain = dict(x=x, sizes=sizes, fit_from=30_000.0)
    return [
        Curve(name="epoch, streaming", y="s", costs=tuple(found["stream_s"]), most=1.1, **plain),  # type: ignore[arg-type]
        Curve(name="epoch, resident", y="s", costs=tuple(found["memory_s"]), most=1.15, **plain),  # type: ignore[arg-type]
        Curve(name="first batch, streaming", y="s", costs=tuple(found["start_s"]), most=0.3, **plain),  # type: ignore[arg-type]
        Curve(name="memory, streaming", y="MB", costs=tuple(found["stream_mb"]), most=0.3, **plain),  # type: ignore[arg-type]
        Curve(name="memory, resident", y="MB", costs=tuple(found["memory_mb"]), most=1.1, **plain),  # type: ignore[arg-type]
    ]


def resident(data: Storage, manifest: Manifest) -> tuple[float, float]:
    """(MB that reading all records takes, seconds of an epoch of them)."""
    loaded: list[MemoryLoader] = []
    grown_mb, _ = taken(lambda: loaded.append(resident_of(data, manifest)))
    _, seconds = taken(lambda: epoch_of(loaded[0]))
    return grown_mb, seconds


def resident_of(data: Storage, manifest: Manifest) -> MemoryLoader:
    """All records in this process, read shard by shard."""
    pieces = [Piece(number, 0, shard.count) for number, shard in enumerate(manifest.shards)]
    tables = (read_piece(pa.table({"id": [number]}), data, manifest, pieces) for number in range(len(pieces)))
    return MemoryLoader(
        rows_of(tables, manifest),
        manifest.shape,
        num_train=manifest.count,
        batch_size=BATCH,
        seed=0,
        lane=0,
        num_lanes=1,
    )


def first_of(loader: StreamLoader) -> None:
    """One batch."""
    batches = loader.batches(0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]


def epoch_of(loader: StreamLoader | MemoryLoader) -> None:
    """All batches of an epoch."""
    batches = loader.batches(0)
    for _ in range(loader.steps_per_epoch):
        next(batches)


def taken(action: Callable[[], object]) -> tuple[float, float]:
    """(MB that this process's own memory grew by at most, seconds); the object store's is shared and not its own."""
    process, before = psutil.Process(), own_mb(psutil.Process())
    most, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            most.append(own_mb(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    return max(max(*most, own_mb(process)) - before, 1.0), seconds


def own_mb(process: psutil.Process) -> float:
    """Memory of one process that no other shares."""
    return float(process.memory_full_info().uss) / 1e6
