"""Waiting for what comes in its own time, with an end to it."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], complaint: str | Callable[[], str], timeout_s: float) -> float:
    """Seconds until the condition held.

    Raises:
        AssertionError: it did not in time; the complaint says what there was in its place
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            text = complaint if isinstance(complaint, str) else complaint()
            raise AssertionError(f"waited {timeout_s:g} s in vain: {text}")
        time.sleep(0.1)
    return time.monotonic() - began
