"""Differences of what questions cost."""

from __future__ import annotations

from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.costs import cost_since


def test_a_difference_holds_what_was_spent_between() -> None:
    before = Cost(asked=10, answered=9, failed=1, under_way=3, prompt_tokens=700, seconds=1.5, money=0.25)
    after = Cost(asked=25, answered=23, failed=2, under_way=1, prompt_tokens=1_700, seconds=2.0, money=0.75)
    spent = cost_since(before, after)
    assert spent == Cost(asked=15, answered=14, failed=1, under_way=1, prompt_tokens=1_000, seconds=0.5, money=0.5)
