"""The examination of an MLLM: what a perfect, a guessing and a silent scorer come out as."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from gem_ray.data.faces import ATTRIBUTES
from gem_ray.errors import ConfigError
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import answer_of_value
from gem_ray.scoring.checking.examination import Examination, Sitting, even_faces, examine, face_sittings

NAMES = ("male", "beard")


def graded_sittings(count: int = 60) -> list[Sitting]:
    """Tiny images whose first pixel holds the attributes, so that a scorer can be perfect without drawing."""
    rng = np.random.default_rng(5)
    sittings = []
    for names in (("male",), ("beard",), NAMES):
        images = np.zeros((count, 8, 8, 3), np.uint8)
        present = len(names) == 2
        truth = rng.random((count, len(names))) * ((rng.random((count, len(names))) < 0.4) if present else 1.0)
        for column, name in enumerate(names):
            images[:, 0, 0, NAMES.index(name)] = np.round(255 * truth[:, column])
        sittings.append(Sitting(images, names, truth, follows=not present, present=present))
    return sittings


def run(answer, sittings: list[Sitting]) -> Examination:
    async def ask(images: np.ndarray, names: Sequence[str]) -> list[ScoreAnswer]:
        return [answer(image, name) for image in images for name in names]

    return asyncio.run(examine(ask, sittings))


def seen(image: np.ndarray, name: str) -> float:
    return image[0, 0, NAMES.index(name)] / 255


def test_a_perfect_scorer_is_perfect():
    found = run(lambda image, name: answer_of_value(seen(image, name)), graded_sittings())
    assert [entry.name for entry in found.attributes] == list(NAMES)
    assert found.num_questions == 4 * 60
    for entry in found.attributes:
        assert not entry.at_chance
        assert entry.rank_correlation.value > 0.999
        assert entry.auroc.value == entry.accuracy_best == pytest.approx(1.0)
        assert entry.mean_error < 0.02
        assert entry.calibration_error < 0.02
        assert (entry.failure_rate, entry.digit_mass) == (0.0, 1.0)


def test_an_attribute_that_is_guessed_is_at_chance_and_the_other_is_not():
    rng = np.random.default_rng(6)
    found = run(
        lambda image, name: answer_of_value(seen(image, name) if name == "male" else rng.random()), graded_sittings()
    )
    assert [entry.at_chance for entry in found.attributes] == [False, True]


def test_a_scorer_that_says_the_opposite_is_not_better_than_chance():
    found = run(lambda image, name: answer_of_value(1 - seen(image, name)), graded_sittings())
    assert all(entry.at_chance for entry in found.attributes)
    assert found.attributes[0].auroc.high < 0.5


def test_silence_is_a_failure_and_no_zero():
    found = run(lambda image, name: missing("low_digit_mass", 0.1), graded_sittings())
    for entry in found.attributes:
        assert entry.failure_rate == 1.0
        assert np.isnan(entry.zero_rate)
        assert entry.num_images == 0
        assert entry.at_chance
        assert entry.digit_mass == pytest.approx(0.1)


def test_zero_to_everything_is_zero_scored_and_at_chance():
    found = run(lambda image, name: answer_of_value(0.0), graded_sittings())
    assert all(entry.zero_rate == 1.0 and entry.at_chance for entry in found.attributes)


def test_labels_that_are_not_known_are_left_out():
    images = np.zeros((40, 8, 8, 3), np.uint8)
    truth = np.tile([0.0, 1.0, np.nan, np.nan], 10)[:, None]
    images[:, 0, 0, 0] = np.nan_to_num(255 * truth[:, 0])
    found = run(
        lambda image, name: answer_of_value(seen(image, name)),
        [Sitting(images, ("male",), truth, follows=True, present=True)],
    )
    entry = found.attributes[0]
    assert (entry.num_images, entry.num_present) == (20, 10)
    assert np.isnan(entry.mean_error)  # the truth is not graded
    assert not entry.at_chance


def test_even_faces_hold_one_attribute_evenly():
    images, values = even_faces(ATTRIBUTES.index("male"), 4)
    again, _ = even_faces(ATTRIBUTES.index("male"), 4)
    assert images.shape == (4, 64, 64, 3)
    np.testing.assert_allclose(values, [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_array_equal(images, again)


def test_drawn_faces_are_asked_about_what_they_have():
    sittings = face_sittings(("beard", "bald"), 3)
    assert [sitting.attributes for sitting in sittings] == [("beard",), ("bald",), ("beard", "bald")]
    assert sittings[-1].truth.shape == (3, 2)
    with pytest.raises(ConfigError, match=r"no attribute smiling.*check\.source"):
        face_sittings(("smiling", "male"), 3)
