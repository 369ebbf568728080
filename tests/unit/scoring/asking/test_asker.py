"""Asking in the name of a run: stored answers, a change of model under way, calibration."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gem_ray.config import ScoringConfig, StorageConfig
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.asker import ROLLING_S, Asker, ModelChanged
from gem_ray.scoring.asking.scripted import ScriptedScorer
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard")
IMAGES = np.arange(5 * 12, dtype=np.uint8).reshape(5, 2, 2, 3)


class Clock:
    """Time that passes only in sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def answer_of(model: str, probabilities: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)) -> ScoreAnswer:
    return ScoreAnswer(probabilities=probabilities, digit_mass=1.0, model=model, prompt_tokens=70, cached_tokens=64)


def make_asker(run: Storage, scorer: ScriptedScorer, clock: Clock | None = None, **options: Any) -> Asker:
    clock = clock or Clock()
    config = ScoringConfig(**options)
    return Asker(config, run, ATTRIBUTES, scorer, "old", lambda name, amount, **labels: None, clock.sleep, clock)


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def test_a_second_scan_of_the_same_images_asks_nothing(run: Storage) -> None:
    first, second = (ScriptedScorer(lambda request: answer_of("old")) for _ in range(2))
    before = asyncio.run(make_asker(run, first).ask_images(IMAGES, (0, 1)))
    asker = make_asker(run, second)
    after = asyncio.run(asker.ask_images(IMAGES, (0, 1)))
    assert len(first.asked) == 10
    assert second.asked == []
    assert (asker.cost.asked, asker.cost.stored) == (0, 10)
    assert [answer.probabilities for answer in after] == [answer.probabilities for answer in before]


def test_without_room_for_stored_answers_the_same_is_asked_again(run: Storage) -> None:
    scorer = ScriptedScorer(lambda request: answer_of("old"))
    for _ in range(2):
        asyncio.run(make_asker(run, scorer, answers_bytes=0).ask_images(IMAGES, (0, 1)))
    assert len(scorer.asked) == 20


def test_the_answer_of_another_model_is_reported_and_not_taken(run: Storage) -> None:
    asker = make_asker(run, ScriptedScorer(lambda request: answer_of("new")))
    with pytest.raises(ModelChanged, match="new"):
        asyncio.run(asker.ask_images(IMAGES, (0,)))
    asker.model = "new"
    answers = asyncio.run(asker.ask_images(IMAGES, (0,)))
    assert {answer.model for answer in answers} == {"new"}


def test_late_answers_of_the_former_model_are_asked_again_until_it_is_gone(run: Storage) -> None:
    left = [7]  # replicas of the old model answer so many questions more

    def answer(request: ScoreRequest) -> ScoreAnswer:
        left[0] -= 1
        return answer_of("old" if left[0] >= 0 else "new")

    asker = make_asker(run, ScriptedScorer(answer))
    asker.model = "new"
    answers = asyncio.run(asker.ask_images(IMAGES, (0, 1)))
    assert {answer.model for answer in answers} == {"new"}


def test_a_former_model_that_answers_for_long_is_the_model_again(run: Storage) -> None:
    clock = Clock()
    asker = make_asker(run, ScriptedScorer(lambda request: answer_of("old")), clock)
    asker.model = "new"
    with pytest.raises(ModelChanged, match="old"):
        asyncio.run(asker.ask_images(IMAGES, (0,)))
    assert clock.now >= 1_000.0 + ROLLING_S


def test_stored_answers_of_two_models_do_not_mix(run: Storage) -> None:
    asyncio.run(make_asker(run, ScriptedScorer(lambda request: answer_of("old"))).ask_images(IMAGES, (0,)))
    scorer = ScriptedScorer(lambda request: answer_of("new", (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)))
    asker = make_asker(run, scorer)
    asker.model = "new"
    answers = asyncio.run(asker.ask_images(IMAGES, (0,)))
    assert len(scorer.asked) == 5
    assert all(answer.expectation == 5.0 for answer in answers)


def test_calibration_takes_out_what_the_model_says_of_a_grey_image(run: Storage) -> None:
    bias = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    truth = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])

    def answer(request: ScoreRequest) -> ScoreAnswer:
        grey = len(set(request.image)) == 1
        p = bias if grey else truth * bias / (truth * bias).sum()
        return answer_of("old", tuple(p.tolist()))

    plain = asyncio.run(make_asker(run, ScriptedScorer(answer)).ask_images(IMAGES, (0, 1)))
    better = asyncio.run(make_asker(run, ScriptedScorer(answer), calibrate=True).ask_images(IMAGES, (0, 1)))
    np.testing.assert_allclose([a.probabilities for a in better], np.tile(truth, (10, 1)), atol=1e-6)
    assert not np.allclose([a.probabilities for a in plain], truth, atol=0.05)


def test_protocols_tell_apart_how_answers_were_had(run: Storage) -> None:
    scorer = ScriptedScorer(lambda request: replace(answer_of("old")))
    protocols = {make_asker(run, scorer, **options).protocol for options in ({}, {"calibrate": True}, {"wordings": 2})}
    assert len(protocols) == 3


def test_a_stored_answer_below_a_raised_digit_mass_is_missing(run: Storage) -> None:
    scorer = ScriptedScorer(lambda request: replace(answer_of("old"), digit_mass=0.6))
    asyncio.run(make_asker(run, scorer).ask_images(IMAGES, (0,)))
    answers = asyncio.run(make_asker(run, scorer, min_digit_mass=0.8).ask_images(IMAGES, (0,)))
    assert {answer.failure for answer in answers} == {"low_digit_mass"}
    assert len(scorer.asked) == 5
