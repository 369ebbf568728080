"""Which failures of a training run end it, and how they reach the person who started it.

Imported by Ray Train's controller process, so nothing heavy belongs here.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray.train
from ray.train.torch import TorchTrainer

from gem_ray.errors import GemRayError


class StopOnOwnErrors(ray.train.UserCallback):
    """An error of ours (bad data, a loss that is not finite) would happen again: end the run, do not restart it."""

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Called by Ray Train's controller; raising here ends the run with the cause."""
        own = own_error(list(worker_exceptions.values()))
        if own is not None:
            raise own


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
