"""A trainer that owns its loop waits at its gate until its turn comes, and ends when there is none."""

from __future__ import annotations

import threading
from pathlib import Path

from benchmarks.peers.gate import STOP, WARMUP, Finished, Gate, Keeper


def test_a_turn_is_so_many_steps_and_nothing_happens_between_turns(tmp_path: Path) -> None:
    keeper, steps, ended = Keeper(tmp_path), [0], []

    def loop() -> None:
        gate = Gate(str(tmp_path), 4)
        try:
            while True:
                steps[0] += 1
                gate.passed()
        except Finished:
            ended.append(True)

    thread = threading.Thread(target=loop)
    thread.start()
    assert keeper.wait(10) is not None
    assert steps[0] == WARMUP
    keeper.let_through()
    segment = keeper.wait(10)
    assert segment is not None
    assert 0 <= segment.wall < 10
    assert steps[0] == WARMUP + 4
    assert keeper.wait(0.05) is None
    keeper.let_through(STOP)
    thread.join(10)
    assert ended == [True]
    keeper.close()
