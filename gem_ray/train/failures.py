"""Which failures of a training run end it, and how they reach the person who started it.

Imported by Ray Train's controller process, so nothing heavy belongs here.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray.train
from ray.exceptions import RayActorError, RayError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import RayTrainError, WorkerHealthCheckFailedError

from gem_ray.errors import GemRayError, TrainingError


class StopOnOwnErrors(ray.train.UserCallback):
    """An error of ours (bad data, a loss that is not finite) or a bug would happen again: end the run at once."""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train's controller; raising here ends the run with the cause."""
        own = own_error(list(worker_exceptions.values())) or bug(worker_exceptions)
        if own is not None:
            raise own


class StopOnRepeats(ray.train.UserCallback):
    """Ends a run whose workers die again and again without a checkpoint in between.

    Nodes come and go for as long as a run lasts, so Ray Train's count over the whole run would end every long one.

    Args:
        max_failures: deaths in a row that are recovered from
    """

    def __init__(self, max_failures: int) -> None:
        self._max_failures, self._in_a_row = max_failures, 0

    def after_report(self, run_context: object, metrics: list[dict[str, object]], checkpoint: object) -> None:
        """Called behind each checkpoint: the run gets on."""
        self._in_a_row = 0

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Called once a failure; a node that was taken away after notice is none."""
        if any(was_preempted(error) for error in worker_exceptions.values()):
            return
        self._in_a_row += 1
        if self._in_a_row > self._max_failures:
            first = worker_exceptions[min(worker_exceptions)]
            raise TrainingError(
                f"workers have died {self._in_a_row} times in a row without a checkpoint in between, more than "
                f"train.max_failures={self._max_failures}; the last time of {type(first).__name__}: {first}"
            ) from first


def bug(worker_exceptions: dict[int, Exception]) -> Exception | None:
    """The error of the lowest rank that failed, if it can only be a mistake in a program; None where it may pass.

    What may pass are deaths of processes, and what a lost peer brings the others: connections, time-outs, and the
    RuntimeErrors in which torch tells of both.
    """
    may_pass = (RuntimeError, OSError, RayError, RayTrainError, SystemError, MemoryError)
    if any(isinstance(error, RayError | RayTrainError) for error in worker_exceptions.values()):
        return None
    bugs = [worker_exceptions[rank] for rank in sorted(worker_exceptions)]
    return next((error for error in bugs if not isinstance(error, may_pass)), None)


def was_preempted(error: Exception) -> bool:
    """Whether a worker died with a node that had been announced as leaving."""
    if isinstance(error, WorkerHealthCheckFailedError):
        error = error.health_check_failure
    return isinstance(error, RayActorError) and bool(error.preempted)


def fit(trainer: TorchTrainer) -> None:
    """``trainer.fit()``, with our own error in place of Ray's wrapping where there is one."""
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        own = own_error([error])
        if own is None:
            raise
        raise own from None


def own_error(errors: list[BaseException]) -> GemRayError | None:
    """The first ``GemRayError`` among errors, their causes and what Ray wrapped."""
    seen: set[int] = set()
    while errors:
        error = errors.pop(0)
        if isinstance(error, GemRayError):
            return error
        if id(error) in seen:
            continue
        seen.add(id(error))
        wrapped = [error.__cause__, error.__context__, *error.__dict__.values()]
        for value in wrapped:
            inner = list(value.values()) if isinstance(value, dict) else [value]
            errors += [item for item in inner if isinstance(item, BaseException)]
    return None


@contextmanager
def interrupts_as_keyboard() -> Iterator[None]:
    """Ray Train answers Ctrl-C by aborting and ``sys.exit(0)``: give the caller KeyboardInterrupt and its handler."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, handler)
