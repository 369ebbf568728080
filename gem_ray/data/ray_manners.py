"""Ray Data as a person meets it: an error of ours comes back as itself, and its own chatter stays in its log files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayError

from gem_ray.errors import GemRayError


@contextmanager
def raising_own_errors() -> Iterator[None]:
    """Raise the ``GemRayError`` behind what Ray wrapped around it; other errors pass as they are."""
    try:
        yield
    except RayError as error:
        own = _own_error(error)
        if own is None:
            raise
        raise own from error


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


def _own_error(error: BaseException | None) -> GemRayError | None:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if isinstance(found, GemRayError):
            return found
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__, getattr(found, "cause", None)]
    return None
