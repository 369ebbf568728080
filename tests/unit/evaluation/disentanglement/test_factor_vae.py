"""FactorVAE score: reference votes, own draws, and codes whose score is known."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.evaluation.disentanglement.factor_vae import count_votes, factor_vae_score, majority_accuracy

SAMPLED = "factorvae_sampled_seeds0-4_[train,eval]"


@pytest.fixture(scope="session")
def draws(metric_refs):
    return dict(np.load(metric_refs / "factorvae_draws.npz"))


def test_votes_on_the_stored_draws_equal_the_reference(case, draws):
    variance = case.table[draws["var_idx"]].var(axis=0, ddof=1)
    votes = {
        part: count_votes(case.table[draws[f"s_{part}"]], draws[f"k_{part}"], variance, 5) for part in ("train", "eval")
    }
    for part, counts in votes.items():
        # the reference numbers the active codes from 0; ours keep their places
        active = np.nonzero(np.sqrt(variance) >= 0.05)[0]
        assert (counts[:, active] == case.arrays[f"fvae_votes_{part}"][:, : len(active)]).all()
        assert counts.sum() == counts[:, active].sum() == len(draws[f"k_{part}"])
    result = majority_accuracy(votes["train"], votes["eval"], len(active))
    expected = case.values["factorvae_draws_thr0.05_lib"]
    assert (result.train_accuracy, result.score) == (expected["train_accuracy"], expected["eval_accuracy"])
    assert result.num_active == case.values["factorvae_draws_thr0.05_own"]["n_active"]


def test_score_of_own_draws_is_near_the_reference(case):
    score = factor_vae_score(case.table, case.table_factors, seed=0).score
    assert score == pytest.approx(np.mean(case.values[SAMPLED], axis=0)[1], abs=0.03)


def test_score_of_a_sample_of_points_is_near_that_of_the_grid(case):
    score = factor_vae_score(case.codes, case.factors, seed=0).score
    assert score == pytest.approx(np.mean(case.values[SAMPLED], axis=0)[1], abs=0.03)


def test_the_code_that_moves_least_for_its_size_has_the_vote():
    drawn = np.array([[[0.0, 0.0], [0.2, 3.0]], [[0.0, 0.0], [1.0, 0.1]]])  # [2 votes, 2 draws, 2 codes]
    votes = count_votes(drawn, np.array([0, 1]), variance=np.array([1.0, 100.0]), num_factors=2)
    assert votes.tolist() == [[1, 0], [0, 1]]
    # relative to a variance of 1e4, the second code moved less in both
    assert count_votes(drawn, np.array([0, 1]), np.array([1.0, 1e4]), 2).tolist() == [[0, 1], [0, 1]]


def test_a_code_answers_with_the_factor_it_had_most_votes_for():
    train, evaluation = np.array([[8, 1], [2, 9]]), np.array([[5, 3], [1, 11]])
    assert majority_accuracy(train, evaluation, 2) == (16 / 20, 17 / 20, 2)


def test_perfect_code_has_one_in_any_order_and_beside_dead_codes(grid):
    codes = np.concatenate([np.full((len(grid), 1), 0.1), grid[:, [2, 0, 1]] * 7.0], axis=1)
    result = factor_vae_score(codes, grid, seed=0, train_votes=500, eval_votes=300)
    assert (result.score, result.num_active) == (1, 3)


def test_order_and_scale_of_codes_change_nothing(grid, noise):
    codes = grid + noise
    one, two = (
        factor_vae_score(z, grid, seed=0, train_votes=500, eval_votes=300)
        for z in (codes, codes[:, [2, 0, 1]] * np.array([2.0, 5, 10]) - 3)
    )
    assert two.score == one.score


def test_code_of_noise_has_chance(grid, noise):
    assert factor_vae_score(noise, grid, seed=0).score == pytest.approx(1 / 3, abs=0.06)


def test_codes_that_hardly_move_have_nothing(grid):
    assert factor_vae_score(0.01 * grid, grid, seed=0) == (0, 0, 0)


def test_the_seed_settles_every_draw(grid, noise):
    scores = [factor_vae_score(grid + 2 * noise, grid, seed=seed).score for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]
