"""SIGKILL at the n-th file operation of an action, each time in a process of its own.

Python's audit events stand before every open, rename, link, removal and new folder, so that every order of whole
operations that a killed process can leave behind is tried. Kills inside one operation are for ``killed_after``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import cloudpickle

FILE_EVENTS = frozenset({"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["gem_ray.checkpoint", "gem_ray.graph.actor"])


def killed_at(point: int, action: Callable[[], None], below: str) -> bool:
    """Whether the action was killed before its file operation number ``point`` (from 1); False where it has fewer.

    Args:
        action: sent by value; what it raises fails the caller
        below: only operations on paths that begin so count
    """
    process = CONTEXT.Process(target=_die_at, args=(point, below, cloudpickle.dumps(action)))
    return _ended(process)


def killed_after(seconds: float, action: Callable[[], None]) -> bool:
    """Whether the action was killed, that long after it began; False where it was done before."""
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=_run, args=(ready, cloudpickle.dumps(action)))
    process.start()
    if not ready.wait(60):
        raise TimeoutError("the process did not begin")
    time.sleep(seconds)
    process.kill()
    return _ended(process, started=True)


def _ended(process: Any, started: bool = False) -> bool:
    if not started:
        process.start()
    process.join(60)
    if process.exitcode not in {0, -signal.SIGKILL}:
        raise AssertionError(f"the action ended with status {process.exitcode}, neither done nor killed")
    return process.exitcode == -signal.SIGKILL


def _die_at(point: int, below: str, pickled: bytes) -> None:
    action = cloudpickle.loads(pickled)
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        # Whole folders are removed by names relative to an open folder, which is the last argument then.
        relative = event in {"os.remove", "os.rmdir"} and arguments[-1] >= 0
        if event in FILE_EVENTS and (relative or any(below in str(argument) for argument in arguments[:2])):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    action()


def _run(ready: Any, pickled: bytes) -> None:
    action = cloudpickle.loads(pickled)
    ready.set()
    action()
