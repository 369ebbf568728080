"""What happens between two groups of workers, where it is decided: in Ray Train's controller, which outlives them."""

from __future__ import annotations

import os

import ray.train
from ray.train.constants import TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S

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


class EndFailedGroupsSoon(ray.train.UserCallback):
    """Waits a second, not Ray Train's 30, for the farewell of a process group of which a worker failed.

    A worker that stands still never answers, and nothing of the group is needed any more. Ray Train reads this from the
    environment of its controller, to which it hands on none but its own variables.
    """

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train's controller before it ends the group."""
        os.environ[TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S] = "1"
