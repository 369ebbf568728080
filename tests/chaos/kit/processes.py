"""Signals to processes by their id, and to none that this test did not start."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class NotOursError(Exception):
    """The process does not descend from this one."""


def kill(pid: int, wait_s: float = 10.0) -> None:
    """SIGKILL, and wait until the process is no more, or a zombie that its parent has to bury.

    Raises:
        NotOursError: it is not a descendant of this process
    """
    process = _ours(pid)
    process.send_signal(signal.SIGKILL)
    end = time.monotonic() + wait_s
    while _runs(process):
        if time.monotonic() > end:
            raise TimeoutError(f"process {pid} still runs {wait_s} s after SIGKILL")
        time.sleep(0.005)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP for the length of the body, then SIGCONT, also where the body fails.

    Raises:
        NotOursError: it is not a descendant of this process
    """
    process = _ours(pid)
    process.send_signal(signal.SIGSTOP)
    try:
        end = time.monotonic() + 5.0
        while process.status() != psutil.STATUS_STOPPED:
            if time.monotonic() > end:
                raise TimeoutError(f"process {pid} did not stop")
            time.sleep(0.005)
        yield
    finally:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def _ours(pid: int) -> psutil.Process:
    process = psutil.Process(pid)
    if os.getpid() not in {parent.pid for parent in process.parents()}:
        raise NotOursError(f"process {pid} ({process.name()}) was not started by process {os.getpid()}")
    return process


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
