"""What questions cost: the invariant, the time something is under way, tokens, and prices."""

from __future__ import annotations

import random

import pytest

from gem_ray.messages.questions import ScoreAnswer
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.meter import CostMeter
from gem_ray.scoring.asking.prompts import missing

GOOD = ScoreAnswer(probabilities=(1.0, 0, 0, 0, 0, 0), digit_mass=1.0, prompt_tokens=80, cached_tokens=64)
STORED = ScoreAnswer(probabilities=(1.0, 0, 0, 0, 0, 0), digit_mass=1.0, stored=True)
STORED_DOUBT = ScoreAnswer(probabilities=None, digit_mass=0.1, failure="low_digit_mass", stored=True)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_question_is_under_way_until_it_ends() -> None:
    meter = CostMeter(0.0, 0.0, Clock())
    meter.send(3)
    assert meter.cost == Cost(asked=3, under_way=3)
    meter.end([GOOD, missing("no_digit")])
    assert meter.cost == Cost(asked=3, answered=1, failed=1, under_way=1)
    meter.end([STORED])
    assert meter.cost == Cost(asked=2, answered=1, failed=1, stored=1)


def test_a_stored_answer_with_too_little_on_the_digits_is_stored_and_has_not_failed() -> None:
    meter = CostMeter(0.0, 0.0, Clock())
    meter.send(3)
    meter.end([STORED_DOUBT, STORED_DOUBT, missing("no_digit")])
    assert meter.cost == Cost(asked=1, failed=1, stored=2)


def test_questions_given_up_are_neither_answered_nor_failed() -> None:
    meter = CostMeter(0.0, 0.0, Clock())
    meter.send(5)
    meter.give_up(2)
    assert meter.cost == Cost(asked=3, under_way=3)


def test_every_try_costs_its_tokens_and_a_stored_answer_none() -> None:
    meter = CostMeter(2.5, 0.0, Clock())
    meter.send(2)
    meter.receive([GOOD, STORED])
    meter.receive([GOOD])
    assert (meter.cost.prompt_tokens, meter.cost.cached_tokens) == (160, 128)
    assert meter.cost.money == pytest.approx(160 * 2.5 / 1e6)


def test_only_time_with_something_under_way_counts_and_overlaps_count_once() -> None:
    clock = Clock()
    meter = CostMeter(0.0, 3.6, clock)
    clock.now += 1_000
    meter.send(1)
    clock.now += 10
    meter.send(1)
    clock.now += 5
    assert meter.cost.seconds == 15
    meter.end([GOOD])
    clock.now += 5
    meter.end([GOOD])
    clock.now += 1_000
    assert meter.cost.seconds == 20
    assert meter.cost.money == pytest.approx(20 * 3.6 / 3600)


def test_more_ends_than_questions_are_an_error_and_not_a_number() -> None:
    meter = CostMeter(0.0, 0.0, Clock())
    meter.send(1)
    with pytest.raises(AssertionError, match="more questions have ended"):
        meter.end([GOOD, GOOD])


def test_the_invariant_holds_through_any_course_of_events() -> None:
    rng, meter, under_way = random.Random(3), CostMeter(1.0, 1.0, Clock()), 0
    for _ in range(2_000):
        kind = rng.choice(("send", "end", "give_up"))
        number = rng.randint(1, 9)
        if kind == "send":
            meter.send(number)
            under_way += number
        elif number <= under_way:
            under_way -= number
            answers = [rng.choice((GOOD, STORED, STORED_DOUBT, missing("no_digit"))) for _ in range(number)]
            meter.end(answers) if kind == "end" else meter.give_up(number)
        cost = meter.cost
        assert cost.asked == cost.answered + cost.failed + cost.under_way
        assert cost.under_way == under_way
        assert min(cost.asked, cost.answered, cost.failed, cost.stored) >= 0
