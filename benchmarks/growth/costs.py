"""Costs that are measured in this process: steps by attributes and side, relations and prompts by attributes."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from benchmarks.core import CPU, random_strength, step_inputs
from benchmarks.growth.fits import Curve
from benchmarks.pair_prompts import TokenClock
from benchmarks.timing import seconds
from gem_ray.config import GemConfig, ModelConfig, TrainConfig
from gem_ray.graph.relations import relations_from_scores
from gem_ray.models.gnn import GraphNetwork
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.train.step import build_parts, train_step

BATCH, REPEATS = 64, 3
IMAGES = 1_000  # scored


def cpu_s(action: Callable[[], object]) -> float:
    """Median processor time of a few calls, after one that does not count."""
    action()
    return statistics.median(seconds(action, time.process_time) for _ in range(REPEATS))


def names(count: int) -> list[str]:
    """So many attributes."""
    return [f"attribute {number}" for number in range(count)]


def by_attributes(counts: Sequence[int]) -> list[Curve]:
    """A step, message passing alone, Somers' D of all pairs, and prompts for all pairs."""
    torch.set_num_threads(1)
    steps, passes, relations, prompts = [], [], [], []
    for count in counts:
        config = GemConfig(model=ModelConfig(attributes=names(count)), train=TrainConfig(num_workers=1))
        parts = build_parts(config, 64, CPU)
        inputs = step_inputs(config, BATCH, parts.gem.latent_dim)._replace(strength=random_strength(count, 4 * count))
        steps.append(cpu_s(partial(train_step, parts, inputs, config.objective)))
        passes.append(cpu_s(message_passing(count)))
        digits = np.random.default_rng(0).dirichlet(np.full(6, 0.3), (IMAGES, count))
        relations.append(cpu_s(lambda digits=digits: relations_from_scores(digits, "most_likely")))  # type: ignore[misc]
        clock = TokenClock()
        questioner = Questioner(clock, batch_questions=48, max_in_flight=4)
        asyncio.run(questioner.ask(np.zeros((1, 8, 8, 3), np.uint8), names(count)))
        prompts.append(float(clock.prompts))
    x, sizes = "attributes", tuple(float(count) for count in counts)
    return [
        Curve(name="step", x=x, y="s", sizes=sizes, costs=tuple(steps), most=1.0),
        Curve(name="message passing", x=x, y="s", sizes=sizes, costs=tuple(passes), most=2.2),
        Curve(name="Somers' D, all pairs", x=x, y="s", sizes=sizes, costs=tuple(relations), most=2.2),
        Curve(name="prompts an image", x=x, y="prompts", sizes=sizes, costs=tuple(prompts), most=1.01),
    ]


def message_passing(nodes: int) -> Callable[[], None]:
    """Forward and backward over a batch."""
    layer, strength = GraphNetwork(1, 1, 1), random_strength(nodes, 4 * nodes)
    codes = torch.randn(1024, nodes, 1, requires_grad=True)

    def run() -> None:
        for _ in range(5):
            layer(codes, strength).sum().backward()

    return run


def by_side(sides: Sequence[int]) -> list[Curve]:
    """A step by the side of the images: pixels grow as its square."""
    torch.set_num_threads(1)
    costs = []
    for side in sides:
        config = replace(GemConfig(), train=TrainConfig(num_workers=1))
        parts = build_parts(config, side, CPU)
        inputs = step_inputs(config, 16, parts.gem.latent_dim, side)
        costs.append(cpu_s(partial(train_step, parts, inputs, config.objective)))
    return [Curve(name="step", x="side, pixels", y="s", sizes=tuple(map(float, sides)), costs=tuple(costs), most=2.1)]
