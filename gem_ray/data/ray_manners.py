"""Ray Data as a person meets it: an error of ours comes back as itself, and its own chatter stays in its log files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray.data
from ray.exceptions import RayError

from gem_ray.errors import GemRayError


@contextmanager
def raising_own_errors() -> Iterator[None]:
    """Raise the ``GemRayError`` behind what Ray wrapped around it; other errors pass as they are."""
    try:
        yield
    except RayError as error:
        # The class Ray raises is ours and its own at once, with a traceback for a message; ``cause`` is ours alone.
        cause = getattr(error, "cause", None)
        if not isinstance(cause, GemRayError):
            raise
        raise cause from None


@contextmanager
def quiet_ray_data() -> Iterator[None]:
    """Keep Ray Data's notes on plans and bars from the terminal; its warnings that matter come as errors."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def well_behaved(dataset: ray.data.Dataset) -> ray.data.Dataset:
    """Let a data set show no bars of its own, and raise what its tasks raise."""
    dataset.context.enable_progress_bars = False
    dataset.context.raise_original_map_exception = True
    return dataset
