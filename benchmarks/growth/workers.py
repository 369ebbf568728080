"""A step of one batch by the number of DDP workers that share it, in processor time of rank 0.

So more workers than cores can be had, four on two: cores that nobody else uses are simulated. The network between
machines is not; its share is bytes of the gradients over its bandwidth.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks.core import CPU, step_inputs
from benchmarks.growth.fits import Curve
from gem_ray.config import GemConfig, TrainConfig
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.step import build_parts, train_step

BATCH, STEPS = 128, 24
RESULT = "seconds"


def by_workers(worlds: Sequence[int]) -> list[Curve]:
    """Seconds of a step, which fall with the workers."""
    costs = []
    for world in worlds:
        with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
            torch.multiprocessing.spawn(worker, args=(world, folder), nprocs=world)
            costs.append(float(Path(folder, RESULT).read_text()))
    return [
        Curve(
            name="step of one batch",
            x="workers",
            y="s of rank 0",
            sizes=tuple(map(float, worlds)),
            costs=tuple(costs),
            most=-0.7,
        )
    ]


def worker(rank: int, world: int, folder: str) -> None:
    """One of the workers; the first writes its median."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as every worker does
    dist.init_process_group("gloo", init_method=f"file://{Path(folder, 'store')}", rank=rank, world_size=world)
    try:
        config = GemConfig(train=TrainConfig(num_workers=1))
        parts = build_parts(config, 64, CPU)
        if world > 1:
            parts.model = DistributedDataParallel(parts.model)
        inputs = step_inputs(config, BATCH // world, parts.gem.latent_dim)
        seconds = []
        for _ in range(STEPS):
            dist.barrier()
            started = time.process_time()
            train_step(parts, inputs, config.objective)
            seconds.append(time.process_time() - started)
        if rank == 0:
            Path(folder, RESULT).write_text(str(statistics.median(seconds[2:])))
    finally:
        dist.destroy_process_group()
