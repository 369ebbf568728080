"""Batches, bounds, waiting and checks of the questioner, with a scripted scorer."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest

from gem_ray.messages import ScoreAnswer, ScoreRequest
from gem_ray.scoring.prompts import checked, missing
from gem_ray.scoring.questions import Questioner
from gem_ray.scoring.scripted import ScriptedScorer, answer_of_value

ATTRIBUTES = ("male", "beard")


def make_images(count: int) -> np.ndarray:
    """Images 2x2 whose first byte is their number."""
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return images


def value_of(request: ScoreRequest) -> ScoreAnswer:
    """A value that tells image and attribute."""
    return answer_of_value((request.image[0] + 10 * ATTRIBUTES.index(request.attribute)) / 20)


def make_questioner(scorer: ScriptedScorer, **options: Any) -> Questioner:
    async def no_sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return Questioner(scorer, **{"batch_questions": 6, "max_in_flight": 2, **options}, sleep=no_sleep)


def test_answers_come_image_by_image_and_attribute_by_attribute() -> None:
    answers = asyncio.run(make_questioner(ScriptedScorer(value_of)).ask(make_images(7), ATTRIBUTES))
    expected = [5 * (image + 10 * attribute) / 20 for image in range(7) for attribute in range(2)]
    assert [answer.expectation for answer in answers] == pytest.approx(expected)


def test_no_more_requests_are_under_way_than_allowed() -> None:
    scorer = ScriptedScorer(value_of, delay_s=0.01)
    asyncio.run(make_questioner(scorer, max_in_flight=3).ask(make_images(30), ATTRIBUTES))
    assert scorer.most_in_flight == 3


def test_a_batch_holds_whole_images() -> None:
    sizes = []
    scorer = ScriptedScorer(value_of, fail=lambda batch: sizes.append(batch) or False)
    asyncio.run(make_questioner(scorer, batch_questions=7).ask(make_images(6), ATTRIBUTES))
    assert len(sizes) == 2  # 12 questions, three images a batch


def test_an_absent_scorer_is_waited_for_and_shown() -> None:
    seen = []
    questioner = make_questioner(ScriptedScorer(value_of, fail=lambda batch: batch < 4))

    async def look(seconds: float) -> None:
        seen.append((questioner.waiting, questioner.last_error))

    questioner._sleep = look
    answers = asyncio.run(questioner.ask(make_images(2), ATTRIBUTES))
    assert len(seen) == 4
    assert all(waiting and "fails" in error for waiting, error in seen)
    assert not questioner.waiting
    assert all(answer.probabilities for answer in answers)


def test_an_answer_missed_by_the_deadline_is_asked_again() -> None:
    late = {"left": 2}

    def sometimes_late(request: ScoreRequest) -> ScoreAnswer:
        if request.attribute == "beard" and late["left"]:
            late["left"] -= 1
            return missing("deadline")
        return value_of(request)

    questioner = make_questioner(ScriptedScorer(sometimes_late))
    answers = asyncio.run(questioner.ask(make_images(1), ATTRIBUTES))
    assert all(answer.probabilities for answer in answers)
    assert (questioner.asked, questioner.missing) == (2, 0)


def test_an_unreadable_answer_is_counted_and_not_asked_again() -> None:
    scorer = ScriptedScorer(lambda request: missing("low_digit_mass", 0.1))
    questioner = make_questioner(scorer)
    asyncio.run(questioner.ask(make_images(2), ATTRIBUTES))
    assert (questioner.asked, questioner.missing, len(scorer.asked)) == (4, 4, 4)
    assert questioner.digit_mass == pytest.approx(0.1)


@pytest.mark.parametrize(
    "probabilities",
    [
        *((math.nan,) * 6, (2.0, -1.0, 0, 0, 0, 0), (0.5,) * 6, (1.0,), (math.inf, 0, 0, 0, 0, 0)),
        (0.1,) * 6,
    ],
)
def test_hostile_probabilities_become_a_missing_answer(probabilities: tuple[float, ...]) -> None:
    answer = checked(ScoreAnswer(probabilities=probabilities, digit_mass=1.0))
    assert (answer.probabilities, answer.failure) == (None, "bad_answer")


def test_a_silent_scorer_is_shown_as_waiting() -> None:
    now = {"s": 0.0}
    questioner = make_questioner(ScriptedScorer(value_of, delay_s=0.01), clock=lambda: now["s"])

    async def ask_and_look() -> tuple[bool, str]:
        asking = asyncio.create_task(questioner.ask(make_images(1), ATTRIBUTES))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now["s"] = 30.0
        seen = questioner.waiting, questioner.last_error
        await asking
        return seen

    assert asyncio.run(ask_and_look()) == (True, "the scorer has not answered for 30 s")
    assert not questioner.waiting


@pytest.mark.parametrize("mass", [math.nan, -1.0, 2.0])
def test_a_hostile_digit_mass_becomes_a_missing_answer(mass: float) -> None:
    assert checked(ScoreAnswer(probabilities=(1.0, 0, 0, 0, 0, 0), digit_mass=mass)).failure == "bad_answer"


def test_a_scorer_that_gives_too_few_answers_counts_as_absent() -> None:
    class Forgetful(ScriptedScorer):
        async def score(self, requests):  # type: ignore[no-untyped-def]
            answers = await super().score(requests)
            return answers[: 0 if len(self.asked) <= 4 else None]

    questioner = make_questioner(Forgetful(value_of))
    answers = asyncio.run(questioner.ask(make_images(2), ATTRIBUTES))
    assert len(answers) == 4
    assert "0 answers to 4 questions" in questioner.last_error
