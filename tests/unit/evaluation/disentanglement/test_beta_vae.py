"""BetaVAE score: near the reference's own draws, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.beta_vae import beta_vae_score

SAMPLED = "betavae_sampled_seeds0-1_[train,eval]"


def test_score_of_own_draws_is_near_the_reference(case):
    result = beta_vae_score(case.table, case.table_factors, seed=0)
    train, evaluation = np.mean(case.values[SAMPLED], axis=0)
    assert result.score == pytest.approx(evaluation, abs=0.02)
    assert result.train_accuracy == pytest.approx(train, abs=0.02)


def test_perfect_code_has_one_in_any_order_and_beside_dead_codes(grid):
    codes = np.concatenate([np.full((len(grid), 1), 0.1), grid[:, [2, 0, 1]] * 1.0], axis=1)
    assert beta_vae_score(codes, grid, seed=0, train_points=1_000, eval_points=500).score == 1


def test_a_rotation_of_a_perfect_code_still_scores_high(grid):
    # the score's known leniency: where MIG falls to little, a linear classifier still tells the factors apart
    angle = np.pi / 4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    standard = (grid - grid.mean(axis=0)) / grid.std(axis=0)
    assert beta_vae_score(standard @ turn, grid, seed=0).score > 0.6


def test_code_of_noise_has_chance(grid, noise):
    assert beta_vae_score(noise, grid, seed=0).score == pytest.approx(1 / 3, abs=0.06)


def test_dead_codes_have_chance(grid):
    assert beta_vae_score(np.zeros((len(grid), 2)), grid, seed=0).score == pytest.approx(1 / 3, abs=0.03)


def test_the_seed_settles_every_draw(grid, noise):
    scores = [beta_vae_score(grid + 4 * noise, grid, seed=seed).score for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]
