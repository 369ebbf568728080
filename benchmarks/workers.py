"""Ratio of two DDP workers over one worker that does the whole batch, a thread and a core each, without Ray."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.nn.parallel import DistributedDataParallel

from benchmarks.core import CPU, step_inputs
from benchmarks.timing import Ratio, Turns, figures, in_turn, spend
from gem_ray.config import GemConfig, ObjectiveConfig, TrainConfig
from gem_ray.train.step import Inputs, Parts, build_parts, train_step

WORLD, BATCH, STEPS = 2, 128, 3
CLOSE = 1e-6  # of the gradient's norm; the two sum their images in another order
RESULT = "turns.json"
# Terms that are means over images: a covariance of half a batch is not half the covariance of the batch.
OBJECTIVE = ObjectiveConfig(cross_covariance_weight=0.0, align_weight=0.0)


def workers(repeats: int) -> Iterator[Ratio]:
    """Measured by the first of the workers."""
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        torch.multiprocessing.spawn(worker, args=(folder, repeats), nprocs=WORLD)
        turns = Turns(**json.loads(Path(folder, RESULT).read_text()))
    what = f"{WORLD} DDP workers (gloo) over one, the same batch of {BATCH} at 64x64, fp32, a thread each"
    yield from figures("ddp_workers", what, turns, STEPS * BATCH, "images/s", 1.6)


def worker(rank: int, folder: str, repeats: int) -> None:
    """All workers step together, or the first does all and the others wait, in turn."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{Path(folder, 'store')}", rank=rank, world_size=WORLD)
    try:
        config = GemConfig(train=TrainConfig(precision="fp32", num_workers=WORLD), objective=OBJECTIVE)
        together, alone = build_parts(config, 64, CPU), build_parts(config, 64, CPU)
        together.model = DistributedDataParallel(together.model)
        whole = step_inputs(config, BATCH, alone.gem.latent_dim)
        mine = slice(rank * BATCH // WORLD, (rank + 1) * BATCH // WORLD)
        share = whole._replace(images=whole.images[mine], noise=whole.noise[mine])
        difference = gradient_difference(together, alone, share, whole)
        assert difference < CLOSE, f"gradients of {WORLD} workers and of one differ by {difference:.1e} of their norm"
        a = lambda pause_s: steps(together, share, pause_s)  # noqa: E731
        b = lambda: steps(alone, whole, only=0)  # noqa: E731
        turns = in_turn(a, b, repeats, STEPS)
        if rank == 0:
            Path(folder, RESULT).write_text(json.dumps(asdict(turns)))
    finally:
        dist.destroy_process_group()


def steps(parts: Parts, inputs: Inputs, pause_s: float = 0.0, only: int | None = None) -> None:
    """Some steps between two barriers, by all ranks or one of them."""
    dist.barrier()
    for _ in range(STEPS if only in (None, dist.get_rank()) else 0):
        train_step(parts, inputs, OBJECTIVE)
        spend(pause_s)
    dist.barrier()


def gradient_difference(together: Parts, alone: Parts, share: Inputs, whole: Inputs) -> float:
    """How far the two gradients of the first step are apart, as a part of their norm; on every rank the same."""
    gradient: Callable[[Parts], torch.Tensor] = lambda parts: torch.cat(  # noqa: E731
        [p.grad.flatten() for p in parts.gem.parameters() if p.grad is not None]
    )
    train_step(together, share, OBJECTIVE)
    train_step(alone, whole, OBJECTIVE)
    return float((gradient(together) - gradient(alone)).norm() / gradient(alone).norm())
