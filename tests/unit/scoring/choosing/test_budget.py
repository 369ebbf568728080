"""The budget holds its rate over any span, whatever is spent."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.errors import ConfigError
from gem_ray.scoring.choosing.budget import QuestionBudget


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_of_nothing_sets_no_bound() -> None:
    budget = QuestionBudget(0, Clock())
    budget.spend(10**9)
    assert budget.available() is None


def test_a_minute_s_worth_is_there_at_first_and_comes_back_evenly() -> None:
    clock = Clock()
    budget = QuestionBudget(120, clock)
    assert budget.available() == 120
    budget.spend(120)
    assert budget.available() == 0
    clock.now += 10.0
    assert budget.available() == 20
    clock.now += 3600.0
    assert budget.available() == 120


def test_a_debt_is_paid_off_before_more_is_free() -> None:
    clock = Clock()
    budget = QuestionBudget(60, clock)
    budget.spend(90)
    assert budget.available() == 0
    clock.now += 30.0
    assert budget.available() == 0
    clock.now += 5.0
    assert budget.available() == 5


def test_fractions_of_questions_are_not_lost_by_asking_often() -> None:
    clock = Clock()
    budget = QuestionBudget(7, clock)
    budget.spend(7)
    for _ in range(600):
        clock.now += 0.1
        budget.available()
    assert budget.available() == 7


def test_no_span_of_time_gives_more_than_its_bound() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    budget = QuestionBudget(300, clock)
    spent: list[tuple[float, int]] = []
    for _ in range(2000):
        clock.now += float(rng.exponential(1.0))
        free = budget.available()
        assert free is not None
        asked = int(rng.integers(free + 1))
        budget.spend(asked)
        spent.append((clock.now, asked))
    times, asked_by = np.array([t for t, _ in spent]), np.cumsum([0] + [k for _, k in spent])
    for start in range(0, 2000, 37):
        spans = times[start:] - times[start]
        assert (asked_by[start + 1 :] - asked_by[start] <= 300 * (1 + spans / 60) + 1e-6).all()
    assert asked_by[-1] > 0.9 * 300 * (times[-1] - times[0]) / 60


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    clock = Clock()
    budget = QuestionBudget(60, clock)
    clock.now -= 50.0
    assert budget.available() == 60


def test_a_negative_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="questions_per_minute=-1"):
        QuestionBudget(-1, Clock())


def test_asking_what_is_left_changes_nothing() -> None:
    now = [0.0]

    def clock() -> float:
        return now[0]

    asked_often, never_asked = QuestionBudget(60, clock), QuestionBudget(60, clock)
    for budget in (asked_often, never_asked):
        budget.spend(60)
    for tenth in range(100):
        now[0] = tenth / 10
        asked_often.available()
    assert vars(asked_often) == vars(never_asked)
    assert asked_often.available() == 9
