"""The benchmark of choosing: its worlds are what they claim, no answer is paid for twice, and value pays in small."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.asking import (
    IMAGE_ARMS,
    JUDGED_ARMS,
    LOOK_ARMS,
    Arm,
    Asked,
    error_of,
    held_error,
    looks_needed,
    questions_about_images,
    questions_about_pairs,
)
from benchmarks.selection import markdown, summarise
from benchmarks.worlds import BLOCK, NUM_DIGITS, DriftingWorld, FactorWorld, JudgedWorld, ReplayedWorld
from gem_ray.graph.relations import relations_from_probabilities

N = 8


def arm(name: str, arms: tuple[Arm, ...]) -> Arm:
    return next(arm for arm in arms if arm.name == name)


def test_the_truth_is_what_very_many_answers_come_near_to() -> None:
    world = FactorWorld(N, 0)
    answers = np.concatenate([world.answers(block) for block in range(1500)])
    assert error_of(relations_from_probabilities(answers).strength, world.truth) < 0.035
    present = answers @ np.arange(NUM_DIGITS) > 2.5
    np.testing.assert_allclose(present.mean(axis=0), world.prevalence, rtol=0.2)
    assert error_of(np.zeros((N, N)), world.truth) > 0.15  # an empty graph is far from the target
    np.testing.assert_array_equal(world.answers(3), world.answers(3))


def test_the_graph_is_that_of_all_answers_and_none_is_paid_for_twice() -> None:
    world, rng = FactorWorld(N, 1), np.random.default_rng(0)
    asked = Asked(world)
    table = np.full((5, BLOCK, N, NUM_DIGITS), np.nan)
    for _ in range(25):
        chosen = tuple(sorted(rng.choice(N, size=rng.integers(2, 5), replace=False).tolist()))
        block = int(rng.integers(5))
        asked.ask(chosen, block)
        table[block][:, list(chosen)] = world.answers(block)[:, list(chosen)]
    whole = relations_from_probabilities(table.reshape(-1, N, NUM_DIGITS))
    np.testing.assert_allclose(asked.strength, whole.strength, atol=1e-6)
    np.testing.assert_allclose(asked.standard_error, whole.standard_error, rtol=1e-4)
    np.testing.assert_array_equal(asked.count, whole.num_observations)
    assert asked.questions == np.isfinite(table[..., 0]).sum()


def test_asking_about_sets_of_attributes_takes_half_of_round_robin_s_questions_or_fewer() -> None:
    needed = {
        name: questions_about_images(FactorWorld(N, 1), arm(name, IMAGE_ARMS), 1, 0.08, 100_000)
        for name in ("value", "round_robin", "everything", "control: shuffled, pairs only")
    }
    assert all(needed.values())
    assert needed["value"] <= 0.5 * needed["round_robin"]
    assert needed["value"] <= 1.2 * needed["everything"]
    assert needed["control: shuffled, pairs only"] > 1.5 * needed["value"]


def test_looking_by_value_takes_half_of_round_robin_s_looks_and_shuffled_values_lose_it() -> None:
    held = {
        name: held_error(DriftingWorld(12, 3, arm(name, LOOK_ARMS).follows), arm(name, LOOK_ARMS), 3, looks=6)
        for name in ("value", "round_robin", "control: shuffled", "control: not followed")
    }
    assert held["value"] < 0.5 * held["round_robin"]
    assert held["control: shuffled"] > 0.8 * held["round_robin"]
    assert held["control: not followed"] > 0.8 * held["round_robin"]
    looks = [looks_needed(12, arm(name, LOOK_ARMS), 3, 0.05) for name in ("value", "round_robin")]
    assert looks[0] is not None
    assert looks[1] is not None
    assert looks[0] < 0.5 * looks[1]


def test_judgements_reach_the_target_under_every_policy() -> None:
    for each in JUDGED_ARMS:
        questions = questions_about_pairs(JudgedWorld(N, 0), each, 0, 0.05, 100_000)
        assert questions is not None
        assert questions >= 4 * N * (N - 1)


def test_replayed_answers_come_round_again_and_cost_nothing_then() -> None:
    source = FactorWorld(N, 2)
    answers = np.concatenate([source.answers(block) for block in range(3)])
    world = ReplayedWorld(source.truth, answers, seed=0)
    assert world.num_blocks == 3
    np.testing.assert_allclose(
        np.sort(np.concatenate([world.answers(b) for b in range(3)]), axis=0), np.sort(answers, axis=0)
    )
    assert questions_about_images(world, arm("everything", IMAGE_ARMS), 0, 1e-6, 10**6) is None
    assert questions_about_images(world, arm("round_robin", IMAGE_ARMS), 0, 1.0, 10**6) == 2 * BLOCK


def test_ratios_are_geometric_means_over_seeds_with_a_t_interval() -> None:
    needed = {"value": [10.0, 40.0], "round_robin": [100.0, 100.0], "uniform": [None, 50.0]}
    value, base, uniform = summarise("images", N, needed)
    assert value.ratio == pytest.approx(0.2)
    half = 12.706 * math.log(2.0)  # standard error of the two logarithms: ln 2; t(.975, 1) = 12.706
    assert (value.low, value.high) == pytest.approx((0.2 * math.exp(-half), 0.2 * math.exp(half)), rel=1e-3)
    assert value.met is False  # the interval is too wide to claim it
    assert base.ratio == 1.0
    assert (uniform.ratio, uniform.questions) == (None, None)
    assert "| images | 8 | uniform | not reached |  |" in markdown([value, base, uniform])


def test_a_control_that_keeps_the_advantage_is_reported() -> None:
    needed = {"value": [10.0, 10.0], "round_robin": [100.0, 100.0], "control: shuffled": [10.0, 10.0]}
    assert [summary.met for summary in summarise("looks", N, needed)] == [True, None, False]
