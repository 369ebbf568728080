"""What watching costs: training steps with everything that times, reduces and exports them, over the bare steps.

In processor time of one process, since the effect looked for is smaller than the noise of a shared machine's clock; the
control plants little, so that a ratio of .99 is seen to be within reach.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.timing import Ratio, figures, in_turn, spend
from gem_ray.config import DataConfig, GemConfig, ScoringConfig, TrainConfig
from gem_ray.graph.disgraph import DisGraph
from gem_ray.train.measurements import Measurements
from gem_ray.train.ray_session import ray_session
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.step import Inputs, build_parts, step_noise, train_step

BATCH, SIDE = 64, 64
STEPS = 40  # of a segment: two log windows
PLANTED = 0.04  # of a step


def watching(repeats: int) -> Iterator[Ratio]:
    """The ratio, its control, and what one window of watching takes by itself."""
    config = GemConfig(
        data=DataConfig(batch_size=BATCH), train=TrainConfig(num_workers=1), scoring=ScoringConfig(scorer="none")
    )
    torch.set_num_threads(1)
    with ray_session(config), tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder, 'store')}", rank=0, world_size=1)
        try:
            yield from measure(config, repeats)
        finally:
            dist.destroy_process_group()


def measure(config: GemConfig, repeats: int) -> Iterator[Ratio]:
    """Segments of both kinds in turn."""
    device = torch.device("cpu")
    parts = build_parts(config, SIDE, device)
    attributes = tuple(config.model.attributes)
    feed = RelationFeed(without_scores(DisGraph.empty(attributes)), device, config.graph.refresh_every_steps)
    inputs = Inputs(
        images=torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)),
        noise=step_noise(0, 0, 1, BATCH, parts.gem.latent_dim),
        prior_noise=None,
        strength=feed.strength,
        confidence=feed.confidence,
        scored_images=None,
        targets=None,
        step=0,
    )
    measurements = Measurements(config, 0, 1_000, parts.gem)

    def bare() -> None:
        for _ in range(STEPS):
            train_step(parts, inputs, config.objective)

    def watched(pause_s: float) -> None:
        for step, _ in enumerate(measurements.waited_for(range(STEPS))):
            with measurements.timing("graph"), measurements.timing("inputs"):
                pass
            with measurements.timing("step"):
                measurements.add(step, *train_step(parts, inputs, config.objective))
            spend(pause_s)
            if (step + 1) % config.train.log_every_steps == 0:
                measurements.show(step + 1, measurements.reduce(step + 1, feed, None))

    turns = in_turn(watched, bare, repeats, STEPS, PLANTED, time.process_time)
    what = f"steps that are timed, reduced and exported over bare steps, {SIDE}x{SIDE}, batch {BATCH}"
    yield from figures("watching", what, turns, STEPS, "steps/CPU s", 0.99)
