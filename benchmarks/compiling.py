"""Ratios of how a step is run, in fp32 on one thread: torch.compile over eager, channels-last over NCHW."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.core import CPU, step_inputs, step_runner
from benchmarks.timing import Ratio, figures, in_turn
from gem_ray.config import GemConfig, TrainConfig
from gem_ray.train.step import build_parts, train_step

BATCH, STEPS, CURVE = 64, 4, 20
CLOSE = 1e-4  # of the loss


def compiling(repeats: int) -> Iterator[Ratio]:
    """Both, and that compiled training gives the same loss curve."""
    torch.set_num_threads(1)
    eager, plain = TrainConfig(precision="fp32"), TrainConfig(precision="fp32", channels_last=False)
    compiled = replace(eager, compile=True)
    for ours, theirs in zip(loss_curve(compiled), loss_curve(eager), strict=True):
        assert abs(ours - theirs) <= CLOSE * abs(theirs), f"compiled loss {ours}, eager {theirs}"
    for name, what, a, b, target in (
        ("compiled_step", "step with torch.compile over eager, both channels-last, fp32", compiled, eager, 1.1),
        ("channels_last_step", "step with channels-last over NCHW, both eager, fp32", eager, plain, 1.0),
    ):
        run_a, run_b = step_runner(a, BATCH, STEPS), step_runner(b, BATCH, STEPS)
        turns = in_turn(run_a, lambda run_b=run_b: run_b(0.0), repeats, STEPS, clock=time.process_time)  # type: ignore[misc]
        yield from figures(name, what, turns, BATCH * STEPS, "images/CPU s", target)


def loss_curve(train: TrainConfig) -> list[float]:
    """Losses of the first steps on one batch, from the same seed."""
    config = replace(GemConfig(), train=replace(train, num_workers=1))
    parts = build_parts(config, 64, CPU)
    inputs = step_inputs(config, BATCH, parts.gem.latent_dim)
    return [float(train_step(parts, inputs, config.objective)[0].total) for _ in range(CURVE)]
