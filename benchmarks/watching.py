"""What watching costs: training steps with everything that times, reduces and exports them, over the bare steps.

In processor time, and of what stands between the steps: the same steps on a shared machine differ by more than the
effect looked for. The control plants little, so that a ratio of .99 is seen to be within reach.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.timing import Ratio, Turns, figures, spend
from gem_ray.config import DataConfig, GemConfig, ScoringConfig, TrainConfig
from gem_ray.graph.disgraph import DisGraph
from gem_ray.train.allocator import keep_freed_memory
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
    keep_freed_memory()  # as every worker does
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

    def segment(planted_s: float) -> tuple[float, float]:
        """Seconds of what watches, and of the steps that it watches."""
        steps_s, began = 0.0, time.process_time()
        for step, _ in enumerate(measurements.waited_for(range(STEPS))):
            with measurements.timing("graph"), measurements.timing("inputs"):
                pass
            with measurements.timing("step"):
                step_began = time.process_time()
                losses = train_step(parts, inputs, config.objective)
                steps_s += time.process_time() - step_began
                measurements.add(step, *losses)
            spend(planted_s)
            if (step + 1) % config.train.log_every_steps == 0:
                measurements.show(step + 1, measurements.reduce(step + 1, feed, None))
        return time.process_time() - began - steps_s, steps_s

    turns = watched_in_turn(segment, repeats)
    what = f"steps that are timed, reduced and exported over the same steps alone, {SIDE}x{SIDE}, batch {BATCH}"
    yield from figures("watching", what, turns, STEPS, "steps/CPU s", 0.99)


def watched_in_turn(segment: Callable[[float], tuple[float, float]], repeats: int) -> Turns:
    """Steps with what watches them, alone, and with time planted in the watching.

    All three are of the same steps: from one segment to the next they differ by more than what is looked for.
    """
    planted_s = PLANTED * segment(0.0)[1] / STEPS
    turns = Turns([], [], [], PLANTED)
    for _ in range(repeats):
        watching_s, steps_s = segment(0.0)
        with_planted_s, _ = segment(planted_s)
        turns.a.append(steps_s + watching_s)
        turns.b.append(steps_s)
        turns.planted.append(steps_s + with_planted_s)
    return turns
