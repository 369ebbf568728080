"""A training in this process, and beside it what disturbs it, which says when it is enough."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session
from gem_ray.train.trainer import ensure_data, run_storage, run_training


def small_training(folder: Path, name: str, train: TrainConfig, graph: GraphConfig | None = None) -> GemConfig:
    """Few small faces and no MLLM: steps of some 25 ms."""
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=name),
        data=DataConfig(uri=str(folder / "faces"), batch_size=16, holdout=16),
        prepare=PrepareConfig(num_images=256, image_size=32, shard_mb=1),
        model=ModelConfig(residual_dim=4),
        objective=ObjectiveConfig(align_batch=4),
        graph=graph or GraphConfig(),
        train=train,
        scoring=ScoringConfig(scorer="none"),
    )


def train_beside(config: GemConfig, disturb: Callable[[], object]) -> None:
    """Train until ``disturb``, which a thread runs from the beginning, has returned; what it raised is raised here.

    Args:
        config: with more steps than there is time for
    """
    run, data = run_storage(config), Storage(config.data.uri, config.storage)

    def disturb_and_end() -> None:
        try:
            disturb()
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    with ray_session(config), ThreadPoolExecutor(1, thread_name_prefix="disturb") as pool:
        ensure_data(config, data)
        disturbance = pool.submit(disturb_and_end)
        with pytest.raises(KeyboardInterrupt):
            run_training(config, run, data, DisGraph.empty(tuple(config.model.attributes)))
        disturbance.result()


class Follower:
    """What a run's ``metrics.jsonl`` says while it goes on."""

    def __init__(self, run: Storage) -> None:
        self.run = run

    def starts(self) -> list[dict[str, Any]]:
        """The events of groups of workers that began."""
        return [line for line in read_metrics(self.run) if line.get("event") == "started"]

    def lines(self) -> list[dict[str, Any]]:
        """Those of steps."""
        return [line for line in read_metrics(self.run) if "event" not in line]

    def step(self) -> int:
        """The newest that is logged."""
        return max((line["step"] for line in self.lines()), default=0)

    def wait(self, condition: Callable[[], object], timeout_s: float) -> None:
        """Until the run's log shows something.

        Raises:
            AssertionError: it did not in time
        """
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"training does not go on from step {self.step()}"
            time.sleep(0.5)
