"""Counts the restarts of a run's workers where they are decided: in Ray Train's controller, which outlives them."""

from __future__ import annotations

import ray.train

from gem_ray import telemetry


class CountRestarts(ray.train.UserCallback):
    """After every failure of workers that Ray will start anew; put it after what ends a run.

    Args:
        run_name: of the run
    """

    def __init__(self, run_name: str) -> None:
        self._run_name = run_name

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train's controller, with what each failed rank died of."""
        first = worker_exceptions[min(worker_exceptions)] if worker_exceptions else None
        telemetry.add_count("gem_train_restarts", 1, run=self._run_name, cause=type(first).__name__)
