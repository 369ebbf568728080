"""How trainers that own their loop are timed in turn: each stops at a gate in its callback until its turn comes.

The two ends are named pipes, so that a worker of Ray can wait at one as well as a process that was started directly.
"""

from __future__ import annotations

import json
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path

GO, SAID = "go", "said"
STOP = "stop"
WARMUP = 3  # steps before the first gate


@dataclass(frozen=True)
class Segment:
    """Seconds of some steps: by the clock, and of this process's processor time."""

    wall: float
    cpu: float


class Finished(Exception):
    """There will be no further turn: the way out of a loop that somebody else owns."""


class Gate:
    """The trainer's end.

    Args:
        folder: of the pipes
        steps: of one segment
    """

    def __init__(self, folder: str, steps: int) -> None:
        # Both ways: opening one way would wait for the other end.
        self._go = os.fdopen(os.open(Path(folder, GO), os.O_RDWR), "r")
        self._said = os.fdopen(os.open(Path(folder, SAID), os.O_RDWR), "w")
        self.steps, self._done = steps, -WARMUP
        self._began = Segment(0.0, 0.0)

    def passed(self) -> None:
        """Called after each step: every so many, tell how long they took and wait for the next turn."""
        self._done += 1
        if self._done < 0 or self._done % self.steps:
            return
        self._say(Segment(time.perf_counter() - self._began.wall, time.process_time() - self._began.cpu))
        if self._go.readline().strip() == STOP:
            raise Finished
        self._began = Segment(time.perf_counter(), time.process_time())

    def _say(self, segment: Segment) -> None:
        self._said.write(json.dumps([segment.wall, segment.cpu]) + "\n")
        self._said.flush()


class Keeper:
    """The other end."""

    def __init__(self, folder: Path) -> None:
        for name in (GO, SAID):
            os.mkfifo(folder / name)
        self._go, self._said = (os.open(folder / name, os.O_RDWR) for name in (GO, SAID))

    def wait(self, timeout_s: float) -> Segment | None:
        """What the trainer says at its gate; None where it does not come to it in time."""
        if not select.select([self._said], [], [], timeout_s)[0]:
            return None
        wall, cpu = json.loads(os.read(self._said, 4096).decode().splitlines()[-1])
        return Segment(wall, cpu)

    def let_through(self, word: str = "go") -> None:
        """The trainer's turn, or, with ``STOP``, its end."""
        os.write(self._go, f"{word}\n".encode())

    def close(self) -> None:
        """Give the pipes back."""
        os.close(self._go)
        os.close(self._said)
