"""How a budget is shared out among kinds of evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gem_ray.config import ScoringConfig
from gem_ray.messages.graph import EvidenceKind
from gem_ray.scoring.choosing.budget import QuestionBudget
from gem_ray.scoring.choosing.planning import (
    LEAST_SAMPLES,
    LEAST_STARTS,
    Offers,
    RoundPlan,
    Selectors,
    plan_round,
    too_small_for_looks,
)

N = 4
VALUES = np.arange(1.0, N * N + 1).reshape(N, N) * ~np.eye(N, dtype=bool)
ALL_PAIRS = N * (N - 1)


def plan(budget: int | None, new_checkpoint: bool = True, num_images: int = 1_000, **options: Any) -> RoundPlan:
    settings = {"round_images": 10, "sample_images": 5, "traversal_images": 2, "traversal_steps": 3} | options
    config = ScoringConfig(**settings)
    offers = Offers(num_images=num_images, new_checkpoint=new_checkpoint, judgement_cost=4)
    return plan_round(Selectors.of(config.policy, N, 0), dict.fromkeys(EvidenceKind, VALUES), offers, config, budget)


def questions(plan: RoundPlan, wordings: int = 1, steps: int = 3) -> int:
    data = len(plan.data_attributes) * plan.num_images
    samples = len(plan.sample_attributes) * plan.num_samples
    columns = len(plan.traversed) + len({source for source, _ in plan.traversed})  # a moved node's own attribute too
    return (data + samples + columns * plan.num_starts * steps) * wordings + 4 * len(plan.judged)


def test_without_a_bound_everything_on_offer_is_asked() -> None:
    found = plan(None, judgements=True)
    assert found.data_attributes == found.sample_attributes == tuple(range(N))
    assert len(found.traversed) == len(found.judged) == ALL_PAIRS
    assert (found.num_images, found.num_samples, found.num_starts) == (10, 5, 2)


def test_without_a_new_checkpoint_only_the_data_are_asked_about() -> None:
    found = plan(None, new_checkpoint=False)
    assert (found.sample_attributes, found.traversed, found.judged) == ((), (), ())
    assert found.data_attributes == tuple(range(N))


def test_a_kind_that_is_set_to_zero_is_not_asked_about() -> None:
    found = plan(None, round_images=0, sample_images=0, traversal_images=0)
    assert found == RoundPlan()


@pytest.mark.parametrize("policy", ["value", "round_robin", "uniform", "everything"])
@pytest.mark.parametrize("wordings", [1, 3])
@pytest.mark.parametrize("budget", [0, 1, 7, 40, 100, 333])
def test_no_plan_exceeds_its_budget(policy: str, wordings: int, budget: int) -> None:
    found = plan(budget, policy=policy, wordings=wordings, judgements=True)
    assert questions(found, wordings) <= budget


def test_what_one_kind_leaves_goes_to_the_next() -> None:
    alone = plan(60, new_checkpoint=False)
    assert questions(alone) == 40  # all four attributes of ten images: the data had the whole budget
    assert questions(plan(60)) > 30


def test_a_small_budget_buys_fewer_images_rather_than_fewer_attributes() -> None:
    found = plan(9, new_checkpoint=False)
    assert found.data_attributes == tuple(range(N))
    assert found.num_images == 2
    assert len(plan(3, new_checkpoint=False).data_attributes) == 3


def test_no_more_images_are_planned_than_there_are() -> None:
    assert plan(None, num_images=3).num_images == 3
    assert plan(None, num_images=0).data_attributes == ()


def test_the_most_valuable_pairs_are_traversed() -> None:
    found = plan(36, round_images=0, sample_images=0, policy="value")
    assert found.traversed == ((3, 2), (3, 1), (3, 0), (2, 3))


@pytest.mark.parametrize("policy", ["round_robin", "everything"])
@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("columns", [2, 3, 5, 8])
def test_every_pair_is_traversed_in_turn_however_few_fit_a_round(policy: str, n: int, columns: int) -> None:
    config = ScoringConfig(policy=policy, round_images=0, sample_images=0, traversal_images=2, traversal_steps=3)
    selectors, values = Selectors.of(policy, n, 0), dict.fromkeys(EvidenceKind, 1.0 - np.eye(n))
    offers = Offers(num_images=0, new_checkpoint=True, judgement_cost=4)
    counts = np.zeros((n, n), dtype=int)
    for _ in range(n * (n - 1)):
        for pair in plan_round(selectors, values, offers, config, 6 * columns).traversed:
            counts[pair] += 1
    asked = counts[~np.eye(n, dtype=bool)]
    assert asked.min() >= 1
    assert np.ptp(asked) <= 1


def rounds_of(config: ScoringConfig, num_rounds: int) -> list[RoundPlan]:
    """Rounds of six attributes on a clock, with a new checkpoint every minute; what is planned is asked."""
    now = [0.0]
    budget = QuestionBudget(config.questions_per_minute, lambda: now[0])
    selectors, values = Selectors.of(config.policy, 6, 0), dict.fromkeys(EvidenceKind, 1.0 - np.eye(6))
    plans, seen, asked = [], -1, 0
    for _ in range(num_rounds):
        checkpoint = int(now[0] // 60)
        offers = Offers(num_images=10**6, new_checkpoint=checkpoint != seen, judgement_cost=4 * config.wordings)
        found = plan_round(selectors, values, offers, config, budget.available())
        asked += questions(found, config.wordings, config.traversal_steps)
        assert asked <= config.questions_per_minute * (1 + now[0] / 60) + 1e-6
        budget.spend(questions(found, config.wordings, config.traversal_steps))
        seen = checkpoint if found.sample_attributes or found.traversed else seen
        plans.append(found)
        now[0] += config.round_every_s
    return plans


@pytest.mark.parametrize("policy", ["value", "round_robin", "uniform", "everything"])
@pytest.mark.parametrize("per_minute", [192, 300, 600, 700, 3_000])
def test_within_a_modest_budget_every_kind_comes_up_with_images_enough_to_tell_something(
    per_minute: int, policy: str
) -> None:
    plans = rounds_of(ScoringConfig(questions_per_minute=per_minute, policy=policy), 30)
    looks = [(found.num_samples, found.num_starts) for found in plans[3:] if found.sample_attributes or found.traversed]
    assert len(looks) >= 7, "of nine checkpoints"
    assert all(num_samples >= LEAST_SAMPLES and num_starts >= LEAST_STARTS for num_samples, num_starts in looks)
    assert sum(bool(found.data_attributes) for found in plans) >= 10, "saving up for looks stops the data"


def test_a_larger_share_buys_more_images_up_to_those_that_are_set() -> None:
    found = [plan(budget, sample_images=100, traversal_images=9, round_images=0) for budget in (300, 600, 900, 2_000)]
    assert [each.num_samples for each in found] == [37, 75, 100, 100]
    assert [each.num_starts for each in found] == [9, 9, 9, 9]
    scarce = plan(54, sample_images=0, traversal_images=16, round_images=0)
    assert (scarce.num_starts, len(scarce.traversed)) == (9, 1)


def test_questions_are_saved_up_for_the_smallest_look() -> None:
    options = {"questions_per_minute": 300, "sample_images": 128, "traversal_images": 16}
    assert plan(191, **options) == RoundPlan()
    found = plan(192, **options)
    assert (len(found.sample_attributes), found.num_samples, len(found.traversed)) == (2, LEAST_SAMPLES, 1)
    assert plan(191, new_checkpoint=False, **options).data_attributes == tuple(range(N))


def test_a_budget_too_small_for_any_look_leaves_the_data_what_there_is_and_says_so() -> None:
    small = ScoringConfig(questions_per_minute=60)
    plans = rounds_of(small, 30)
    assert not any(found.sample_attributes or found.traversed for found in plans[1:])  # the first has a minute's worth
    assert all(found.data_attributes for found in plans)
    reason = too_small_for_looks(small)
    assert "scoring.questions_per_minute=60 is too little" in reason
    assert "among samples, traversals, data it must be 192" in reason
    assert too_small_for_looks(ScoringConfig(questions_per_minute=191))


@pytest.mark.parametrize(
    "options",
    [{}, {"questions_per_minute": 192}, {"questions_per_minute": 1, "sample_images": 0, "traversal_images": 0}],
)
def test_a_budget_that_reaches_a_look_or_need_not_is_not_complained_of(options: dict[str, int]) -> None:
    assert too_small_for_looks(ScoringConfig(**options)) == ""
