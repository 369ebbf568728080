"""Differences and ratios of what questions cost."""

from __future__ import annotations

from gem_ray.messages import Cost
from gem_ray.scoring.costs import cost_since, per_useful_change


def test_a_difference_holds_what_was_spent_between() -> None:
    before = Cost(asked=10, answered=9, failed=1, under_way=3, prompt_tokens=700, seconds=1.5, money=0.25)
    after = Cost(asked=25, answered=23, failed=2, under_way=1, prompt_tokens=1_700, seconds=2.0, money=0.75)
    spent = cost_since(before, after)
    assert spent == Cost(asked=15, answered=14, failed=1, under_way=1, prompt_tokens=1_000, seconds=0.5, money=0.5)


def test_nothing_is_said_of_useful_changes_before_the_first() -> None:
    assert per_useful_change(Cost(asked=50), 0) is None
    assert per_useful_change(Cost(asked=50), 4) == 12.5
