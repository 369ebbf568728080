"""The zero-scoring and the failure rate."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.scoring.checking.rates import scan_rates


def digits(*likeliest: int | None) -> np.ndarray:
    """Answers [N, 6] whose likeliest digit is as given; None is a missing one."""
    rows = np.full((len(likeliest), 6), np.nan)
    for row, digit in zip(rows, likeliest, strict=True):
        if digit is not None:
            row[:] = 0.08
            row[digit] = 0.6
    return rows


def test_zeros_are_shares_of_answers_and_failures_shares_of_questions():
    probabilities = np.stack([digits(0, 0, 3, None), digits(1, None, None, None)], axis=1)
    rates = scan_rates(probabilities)
    np.testing.assert_allclose(rates.zero, [2 / 3, 0.0])
    np.testing.assert_allclose(rates.failure, [1 / 4, 3 / 4])
    assert rates.all_zero == pytest.approx(2 / 4)
    assert rates.all_failure == pytest.approx(4 / 8)


def test_what_was_not_asked_has_not_failed():
    probabilities = np.stack([digits(0, None), digits(2, None)], axis=1)
    rates = scan_rates(probabilities, asked=np.array([[True, True], [True, False]]))
    np.testing.assert_allclose(rates.failure, [0.5, 0.0])
    assert rates.all_failure == pytest.approx(1 / 3)


def test_without_any_question_there_is_no_rate():
    rates = scan_rates(np.zeros((0, 2, 6)))
    assert np.isnan(rates.zero).all()
    assert np.isnan(rates.failure).all()
    assert (rates.all_zero, rates.all_failure) == (None, None)
