"""What shall go wrong and when: a list of actions drawn from a seed, kept as JSON, and a thread that carries it out."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Action:
    """At ``at_s`` seconds after the beginning, ``kind`` happens; ``number`` is for it to choose its target by."""

    at_s: float
    kind: str
    number: int


@dataclass(frozen=True)
class ChaosPlan:
    """Actions in the order of their times."""

    seed: int
    actions: tuple[Action, ...]

    @classmethod
    def drawn(cls, seed: int, kinds: Sequence[str], every_s: float, count: int, spread: float = 0.5) -> ChaosPlan:
        """``count`` actions, ``every_s`` apart on average.

        Args:
            spread: how far an action may be from its even time, as a part of ``every_s``
        """
        dice = random.Random(seed)
        actions = [
            Action(
                at_s=round(every_s * (1 + place + dice.uniform(-spread, spread) * 0.999), 3),
                kind=dice.choice(list(kinds)),
                number=dice.randrange(1 << 16),
            )
            for place in range(count)
        ]
        return cls(seed, tuple(sorted(actions, key=lambda action: action.at_s)))

    def to_json(self) -> str:
        """For the log, and to do the same again."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChaosPlan:
        """The inverse of ``to_json``."""
        content = json.loads(text)
        return cls(content["seed"], tuple(Action(**action) for action in content["actions"]))


class Execution:
    """A plan under way, in a thread of its own.

    Args:
        act: what each kind does; it gets the action's number, and what it returns is kept

    Attributes:
        done: (action, seconds after the beginning, what it returned)
    """

    def __init__(self, plan: ChaosPlan, act: Mapping[str, Callable[[int], Any]]) -> None:
        missing = {action.kind for action in plan.actions} - set(act)
        if missing:
            raise ValueError(f"nothing is said about how to do {', '.join(sorted(missing))}")
        print(f"plan: {plan.to_json()}", flush=True)
        self.done: list[tuple[Action, float, Any]] = []
        self.fault: Exception | None = None
        self._plan, self._act = plan, act
        self._over = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Until all is done; what an action raised is raised here."""
        self._thread.join(timeout_s)
        alive = self._thread.is_alive()
        self.stop()
        if alive:
            raise TimeoutError(f"{len(self.done)} of {len(self._plan.actions)} actions were done in {timeout_s} s")

    def stop(self) -> None:
        """Leave out what has not begun."""
        self._over.set()
        self._thread.join()
        if self.fault is not None:
            raise self.fault

    def _run(self) -> None:
        for action in self._plan.actions:
            if self._over.wait(max(0.0, self._began + action.at_s - time.monotonic())):
                return
            try:
                result = self._act[action.kind](action.number)
            except Exception as error:  # noqa: BLE001  it belongs to the test's thread, where it is raised
                self.fault = error
                return
            self.done.append((action, time.monotonic() - self._began, result))
