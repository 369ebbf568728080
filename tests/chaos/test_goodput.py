"""Training under a SIGKILL a minute: how many of the steps that were done count in the end.

``GEM_RAY_GOODPUT_KILLS`` is how many kills, five unless set. What part of the time counts is held against the usual
formula of recovery, interval of checkpoints and time between failures.
"""

from __future__ import annotations

import json
import os
import time

import pytest

from gem_ray.checkpoint import latest_step
from gem_ray.config import TrainConfig
from gem_ray.train.trainer import run_storage
from kit.plan import ChaosPlan, Execution
from kit.processes import kill
from kit.training import Follower, small_training, train_beside

KILLS = int(os.environ.get("GEM_RAY_GOODPUT_KILLS", "5"))
SEED, EVERY_S, LOG_EVERY = 16, 60.0, 5
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(KILLS * 120 + 400),
]


class Killer:
    """Kills a worker as the plan says, and is done when all has been done and is gone on from."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.start_step, self.undisturbed_s = 0, 0.0
        self.at_kill: list[int] = []
        self.gone_on_s: list[float] = []
        self.began = self.trained_s = 0.0
        self.end_step = 0

    def work(self) -> None:
        self.follower.wait(lambda: self.follower.step() > 40, 240)
        self.start_step = self.follower.step()
        self.began = time.monotonic()
        plan = ChaosPlan.drawn(SEED, ["kill"], every_s=EVERY_S, count=KILLS, spread=0.2)
        Execution(plan, {"kill": self._kill}).wait(KILLS * EVERY_S + 240)
        time.sleep(EVERY_S / 2)
        self.trained_s = time.monotonic() - self.began
        self.end_step = self.follower.step()

    def _kill(self, number: int) -> int:
        starts, step = self.follower.starts, self.follower.step
        pids = starts()[-1]["pids"]
        pid, before = pids[number % len(pids)], len(starts())
        self.at_kill.append(step())
        began = time.monotonic()
        self.undisturbed_s = self.undisturbed_s or began - self.began
        kill(pid)
        self.follower.wait(lambda: len(starts()) > before and step() > starts()[-1]["step"], 180)
        self.gone_on_s.append(time.monotonic() - began)
        return pid


def steps_per_s(killer: Killer) -> float:
    """Before the first kill, checkpoints included."""
    return (killer.at_kill[0] - killer.start_step) / killer.undisturbed_s


def part_of_the_time(killer: Killer) -> float:
    """Steps that were done, over those that the time is enough for where nothing happens."""
    return (killer.end_step - killer.start_step) / (steps_per_s(killer) * killer.trained_s)


def formula(killer: Killer, interval: int) -> float:
    """1 - (recovery + one interval of checkpoints done again) / time between failures; writing them is in the rate."""
    recovery_s = sum(killer.gone_on_s) / KILLS
    return 1 - (recovery_s + interval / steps_per_s(killer)) / (killer.trained_s / KILLS)


def test_nine_of_ten_steps_count_under_a_kill_a_minute(tmp_path):
    train = TrainConfig(
        steps=10**6, checkpoint_every_steps=10, log_every_steps=LOG_EVERY, max_failures=4 * KILLS, keep_checkpoints=3
    )
    config = small_training(tmp_path, "goodput", train)
    storage = run_storage(config)
    killer = Killer(Follower(storage))
    train_beside(config, killer.work)
    starts = [event["step"] for event in killer.follower.starts()]
    # Steps between two lines of the log are not seen, and count as done again.
    redone = [at + LOG_EVERY - 1 - resumed for at, resumed in zip(killer.at_kill, starts[1:], strict=True)]
    goodput = killer.end_step / (killer.end_step + sum(redone))
    measured, predicted = part_of_the_time(killer), formula(killer, config.train.checkpoint_every_steps)
    figures = {
        "seed": SEED,
        "kills": len(killer.at_kill),
        "steps": killer.end_step,
        "redone": redone,
        "goodput": round(goodput, 4),
        "standstill_s": [round(seconds, 1) for seconds in killer.gone_on_s],
        "part_of_the_time": round(measured, 3),
        "formula": round(predicted, 3),
    }
    print(json.dumps(figures), flush=True)
    assert len(killer.at_kill) == KILLS
    assert goodput >= 0.9
    assert abs(measured - predicted) <= 0.2 * predicted
    # At most two intervals: a checkpoint that the controller has not heard of does not count.
    assert max(redone) <= 2 * config.train.checkpoint_every_steps + LOG_EVERY
    assert (latest_step(storage) or 0) >= killer.end_step - 2 * config.train.checkpoint_every_steps
