"""How a budget is shared out among kinds of evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gem_ray.config import ScoringConfig
from gem_ray.messages.graph import EvidenceKind
from gem_ray.scoring.choosing.planning import Offers, RoundPlan, Selectors, plan_round

N = 4
VALUES = np.arange(1.0, N * N + 1).reshape(N, N) * ~np.eye(N, dtype=bool)
ALL_PAIRS = N * (N - 1)


def plan(budget: int | None, new_checkpoint: bool = True, num_images: int = 1_000, **options: Any) -> RoundPlan:
    settings = {"round_images": 10, "sample_images": 5, "traversal_images": 2, "traversal_steps": 3} | options
    config = ScoringConfig(**settings)
    offers = Offers(num_images=num_images, new_checkpoint=new_checkpoint, judgement_cost=4)
    return plan_round(Selectors.of(config.policy, N, 0), dict.fromkeys(EvidenceKind, VALUES), offers, config, budget)


def questions(plan: RoundPlan, wordings: int = 1) -> int:
    data = len(plan.data_attributes) * plan.num_images * wordings
    columns = len(plan.traversed) + len({source for source, _ in plan.traversed})  # a moved node's own attribute too
    return data + (5 * len(plan.sample_attributes) + 6 * columns) * wordings + 4 * len(plan.judged)


def test_without_a_bound_everything_on_offer_is_asked() -> None:
    found = plan(None, judgements=True)
    assert found.data_attributes == found.sample_attributes == tuple(range(N))
    assert len(found.traversed) == len(found.judged) == ALL_PAIRS
    assert found.num_images == 10


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
