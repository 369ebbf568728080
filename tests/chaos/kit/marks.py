"""Processes by a mark in their environment, which whatever they start inherits."""

from __future__ import annotations

import psutil

from kit.waiting import wait_until

MARK = "GEM_RAY_TEST_MARK"


def marked(mark: str) -> list[psutil.Process]:
    """Live processes that inherited a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def end_marked(mark: str) -> int:
    """SIGKILL to all of them at once, and to what they were starting meanwhile; returns how many there were."""
    killed: set[int] = set()

    def gone() -> bool:
        living = marked(mark)
        for process in living:
            try:
                process.kill()
                killed.add(process.pid)
            except psutil.NoSuchProcess:
                continue
        return not living

    wait_until(gone, lambda: f"left: {marked(mark)}", 30)
    return len(killed)
