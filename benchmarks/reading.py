"""Ratios of batches from memory: over decoding JPEG files in torch's DataLoader, and over a bare numpy gather."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.decoding import SIDE, jpegs, plain_decode
from benchmarks.timing import Ratio, figures, in_turn, spend
from gem_ray.data.memory import MemoryLoader

BATCH, RECORDS = 256, 16_384
DECODED = 8  # batches of the slow side in one call; the fast side does FASTER times as many, and is divided by it
FASTER = 40
GATHERED = 256
WORKERS = 2
SETTLE_S = 1.0  # the DataLoader's workers read on for a while, on the cores that the next turn is timed on
READY = 2 * WORKERS  # batches that lie there by then and cost nothing: so many more are drawn


class Files(Dataset[torch.Tensor]):
    """JPEG files as tensors; short lists are gone through again and again."""

    def __init__(self, paths: list[Path], length: int) -> None:
        self._paths, self._length = paths, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> torch.Tensor:
        data = self._paths[number % len(self._paths)].read_bytes()
        return torch.from_numpy(plain_decode(data).copy()).permute(2, 0, 1)


def memory_batches() -> tuple[Iterator[object], np.ndarray]:
    """Endless batches of the project's loader, and the same records as an array [N, H * W * 3]."""
    rows = np.random.default_rng(0).integers(0, 256, (RECORDS, SIDE * SIDE * 3), dtype=np.uint8)
    loader = MemoryLoader(
        torch.from_numpy(rows), (SIDE, SIDE, 3), num_train=RECORDS, batch_size=BATCH, seed=0, lane=0, num_lanes=1
    )
    return loader.batches(0), rows


def reading(repeats: int) -> Iterator[Ratio]:
    """Both ratios, one thread in this process."""
    torch.set_num_threads(1)
    batches, rows = memory_batches()

    def ours(num_batches: int, pause_s: float, pause: Callable[[float], None] = time.sleep) -> None:
        for _ in range(num_batches):
            next(batches)
            pause(pause_s)

    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        paths = [Path(folder, f"{number:04d}.jpg") for number in range(256)]
        for path, data in zip(paths, jpegs(178, 218, len(paths)), strict=True):
            path.write_bytes(data)
        endless = Files(paths, BATCH * (DECODED + READY) * (repeats + 4))
        decoded: Iterator[torch.Tensor] = iter(
            DataLoader(endless, BATCH, shuffle=True, num_workers=WORKERS, prefetch_factor=READY // WORKERS)
        )
        turns = in_turn(
            lambda pause_s: ours(DECODED * FASTER, pause_s),
            lambda: [next(decoded) for _ in range(DECODED + READY)],
            repeats,
            DECODED * FASTER,
            between=lambda: time.sleep(SETTLE_S),
        )
        decoded = iter(())  # ends the workers before their files go
    what = f"shuffled batches of {BATCH} from memory over a DataLoader that decodes JPEG of 178x218, {WORKERS} workers"
    yield from figures("memory_reader", what, turns.as_often(FASTER), DECODED * BATCH, "images/s", 20)

    orders = np.random.default_rng(1).integers(0, RECORDS, (GATHERED, BATCH))

    def bare() -> None:
        for order in orders:
            rows[order]

    gathered = lambda pause_s: ours(GATHERED, pause_s, spend)  # noqa: E731
    turns = in_turn(gathered, bare, repeats, GATHERED, clock=time.process_time)
    what = f"the same batches over a bare numpy gather of {BATCH} rows"
    yield from figures("memory_gather", what, turns, GATHERED * BATCH, "images/CPU s", 0.8)
