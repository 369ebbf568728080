"""Contextual calibration against closed forms."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest

from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.calibration import GREY, LEAST_CONTENT_FREE, calibrated, calibrated_answer, grey_request
from gem_ray.scoring.asking.prompts import answer_from_logprobs, missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value

BIAS = np.array([0.4, 0.05, 0.25, 0.1, 0.15, 0.05])


def biased(request: Request) -> ScoreAnswer:
    """A scorer that weighs every digit by ``BIAS``, of images whose first byte is the truth in percent."""
    assert isinstance(request, ScoreRequest)
    if set(request.image) == {GREY}:
        return ScoreAnswer(probabilities=tuple(BIAS.tolist()), digit_mass=1.0)
    weighted = np.array(answer_of_value(request.image[0] / 100).probabilities) * BIAS
    return ScoreAnswer(probabilities=tuple((weighted / weighted.sum()).tolist()), digit_mass=1.0)


def probabilities_of(requests: list[Request]) -> np.ndarray:
    answers = asyncio.run(ScriptedScorer(biased).score(requests))
    return np.array([answer.probabilities for answer in answers])


def test_a_planted_bias_is_taken_out_exactly() -> None:
    truth = [5, 33, 50, 71, 100]
    told = probabilities_of([ScoreRequest(image=bytes([v] * 12), height=2, width=2, attribute="male") for v in truth])
    grey = probabilities_of([grey_request("male", height=2, width=2)])[0]
    better = calibrated(told, grey)
    np.testing.assert_allclose(better @ np.arange(6), np.array(truth) / 20, atol=1e-9)
    assert np.abs(told @ np.arange(6) - np.array(truth) / 20).max() > 0.2  # the bias was there


def test_a_uniform_content_free_answer_changes_nothing() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(6), (4, 3))
    np.testing.assert_allclose(calibrated(p, np.full(6, 1 / 6)), p, rtol=1e-12)


def test_the_content_free_answer_itself_becomes_uniform() -> None:
    np.testing.assert_allclose(calibrated(BIAS, BIAS), np.full(6, 1 / 6))


def test_each_attribute_has_a_content_free_answer_of_its_own() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(6), (5, 2))
    grey = np.random.default_rng(1).dirichlet(np.ones(6), 2)
    both = calibrated(p, grey)
    for j in range(2):
        np.testing.assert_allclose(both[:, j], calibrated(p[:, j], grey[j]))


def test_missing_answers_stay_missing_on_either_side() -> None:
    p = np.stack([np.full(6, np.nan), BIAS])
    assert np.isnan(calibrated(p, BIAS)).all(1).tolist() == [True, False]
    assert np.isnan(calibrated(p, np.full(6, np.nan))).all()


def test_a_digit_that_grey_never_gets_is_not_raised_without_bound() -> None:
    grey = np.array([1.0, 0, 0, 0, 0, 0])
    p = np.array([1 - 1e-9, 0, 0, 0, 0, 1e-9])
    assert calibrated(p, grey)[5] == pytest.approx(1e-9 / LEAST_CONTENT_FREE, rel=1e-3)
    np.testing.assert_allclose(calibrated(np.array([0, 0, 0, 1.0, 0, 0]), grey), [0, 0, 0, 1, 0, 0])


def test_order_of_digits_by_grey_corrected_odds_is_kept() -> None:
    p = answer_from_logprobs([(str(digit), -float(digit)) for digit in range(6)], 0.0).probabilities
    better = calibrated(np.array(p), np.full(6, 1 / 6))
    assert all(first > second for first, second in pairwise(better))


def test_the_grey_question_is_that_of_the_answers_it_calibrates() -> None:
    request = grey_request("beard", height=3, width=5, wording=2)
    assert (request.attribute, request.height, request.width, request.wording) == ("beard", 3, 5, 2)
    assert request.image == bytes([GREY]) * 45


def test_one_answer_is_calibrated_as_an_array_is_and_missing_where_grey_had_none() -> None:
    answer, grey = answer_of_value(0.5), ScoreAnswer(probabilities=(0.5, 0.1, 0.1, 0.1, 0.1, 0.1), digit_mass=1.0)
    found = calibrated_answer(answer, grey)
    expected = calibrated(np.array(answer.probabilities), np.array(grey.probabilities))
    np.testing.assert_allclose(found.probabilities, expected)
    assert calibrated_answer(answer, None).failure == "no_content_free_answer"
    assert calibrated_answer(missing("deadline"), grey).failure == "deadline"
