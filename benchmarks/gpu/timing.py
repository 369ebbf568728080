"""Seconds of work on a device: by its own events on CUDA, by the clock on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch


def synchronize(device: torch.device) -> None:
    """Wait for everything that was sent to the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def times(
    action: Callable[[], object], device: torch.device, repeats: int, calls: int = 1, warmup: int = 2
) -> list[float]:
    """Seconds of one call, ``repeats`` times, each a mean over ``calls`` that are sent without waiting between them."""
    for _ in range(warmup):
        action()
    found = []
    for _ in range(repeats):
        synchronize(device)
        started = time.perf_counter()
        for _ in range(calls):
            action()
        synchronize(device)
        found.append((time.perf_counter() - started) / calls)
    return found


def median(action: Callable[[], object], device: torch.device, repeats: int, calls: int = 1) -> float:
    """The median of ``times``."""
    return statistics.median(times(action, device, repeats, calls))


def in_turn(
    actions: dict[str, Callable[[], object]], device: torch.device, repeats: int, calls: int, warmup: int = 0
) -> dict[str, list[float]]:
    """Seconds of one call of each action, taken in turn, so that a clock that throttles touches all alike.

    Args:
        warmup: calls before each timing, for what gathers work while the others have their turn
    """
    for action in actions.values():
        times(action, device, 1, 2)
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            found[name] += times(action, device, 1, calls, warmup)
    return found


def step_times(action: Callable[[], object], device: torch.device, count: int) -> list[float]:
    """Seconds between the ends of consecutive calls on the device, which is never waited for in between."""
    if device.type != "cuda":
        return [times(action, device, 1, 1, warmup=0)[0] for _ in range(count)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    synchronize(device)
    events[0].record()
    for event in events[1:]:
        action()
        event.record()
    synchronize(device)
    return [a.elapsed_time(b) / 1000 for a, b in pairwise(events)]
