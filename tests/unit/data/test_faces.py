"""Tests of the parametric faces: their joint distribution, and that a picture shows what its attributes say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import somersd, spearmanr

from gem_ray.data.faces import (
    ATTRIBUTES,
    CELEBA_TOGETHER,
    STATES,
    WEAKEST,
    attributes_from_uniforms,
    draw_face,
    face,
    sample_attributes,
    sample_nuisance,
    state_probabilities,
    true_strength,
)
from gem_ray.graph.relations import relations_from_values


def draw_attributes(count: int, seed: int) -> np.ndarray:
    return attributes_from_uniforms(np.random.default_rng(seed).random((count, 7)))


def conditionals(together: np.ndarray) -> np.ndarray:
    """[i, j] = P(j | i)."""
    return together / np.diag(together)[:, None]


def test_model_has_the_frequencies_of_celeba_in_both_directions() -> None:
    together = np.einsum("s,si,sj->ij", state_probabilities(), STATES, STATES)
    assert np.abs(np.diag(together) - np.diag(CELEBA_TOGETHER)).max() < 1e-4
    assert np.abs(conditionals(together) - conditionals(CELEBA_TOGETHER)).max() < 3e-4


def test_sampled_faces_have_the_frequencies_of_celeba_in_both_directions() -> None:
    count = 200_000
    present = (draw_attributes(count, seed=1) > 0).astype(float)
    together = present.T @ present / count
    # Four standard errors of a share among the images that show the condition.
    share, condition = conditionals(CELEBA_TOGETHER), np.diag(CELEBA_TOGETHER)[:, None]
    tolerance = 4 * np.sqrt(np.maximum(share * (1 - share), 1e-4) / (condition * count)) + 3e-4
    assert (np.abs(conditionals(together) - share) < tolerance).all()
    assert tolerance.max() < 0.035
    assert np.abs(np.diag(together) - np.diag(CELEBA_TOGETHER)).max() < 0.005


def test_published_examples_of_the_asymmetry_hold() -> None:
    male, beard = ATTRIBUTES.index("male"), ATTRIBUTES.index("beard")
    share = conditionals(np.einsum("s,si,sj->ij", state_probabilities(), STATES, STATES))
    assert share[male, beard] == pytest.approx(0.3944, abs=0.001)
    assert share[beard, male] == pytest.approx(0.9958, abs=0.001)


def test_attributes_are_absent_or_graded() -> None:
    attributes = draw_attributes(50_000, seed=2)
    present = attributes > 0
    assert (attributes[present] >= WEAKEST).all()
    assert (attributes <= 1).all()
    for column in range(len(ATTRIBUTES)):
        strengths = attributes[present[:, column], column]
        assert np.quantile(strengths, [0.1, 0.5, 0.9]) == pytest.approx([0.46, 0.7, 0.94], abs=0.02)


def test_true_strength_is_somers_d_of_the_samples_target_given_source() -> None:
    strength = true_strength()
    measured = relations_from_values(draw_attributes(100_000, seed=3))
    difference = np.abs(measured.strength - strength)
    # Only 2 % are bald, so that row is the least certain.
    assert (difference <= 4 * measured.standard_error + 0.001).all()
    assert difference.max() < 0.03
    # SciPy agrees on the direction: its second argument is the one that is predicted.
    few = draw_attributes(300, seed=4)
    male, beard = ATTRIBUTES.index("male"), ATTRIBUTES.index("beard")
    assert somersd(few[:, beard], few[:, male]).statistic == pytest.approx(strength[beard, male], abs=0.12)
    assert somersd(few[:, male], few[:, beard]).statistic == pytest.approx(strength[male, beard], abs=0.12)
    assert strength[beard, male] > 0.6
    assert strength[male, beard] < 0.35


def test_true_strength_cannot_be_changed_by_a_caller() -> None:
    with pytest.raises(ValueError, match="read-only"):
        true_strength()[0, 1] = 1.0


def test_a_face_is_a_pure_function_of_seed_and_index() -> None:
    first, second = face(7, 123, 64), face(7, 123, 64)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], sample_attributes(7, 123))
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], face(7, 124, 64)[0])
    assert not np.array_equal(first[0], face(8, 123, 64)[0])


@pytest.mark.parametrize("size", [16, 64, 100, 128])
def test_any_size_gives_rgb_bytes(size: int) -> None:
    image, attributes = face(0, 0, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert attributes.shape == (6,)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_more_of_an_attribute_changes_the_picture_more(name: str) -> None:
    """Along 0 .. 1 the distance to the picture at 0 rises throughout, and at 1 it is far above the noise."""
    column = ATTRIBUTES.index(name)
    rng = np.random.default_rng(column)
    for _ in range(8):
        attributes, nuisance = rng.random(6), sample_nuisance(rng)
        pictures = []
        for value in np.linspace(0, 1, 6):
            attributes[column] = value
            # One nuisance and so the same noise: what differs is the attribute's doing.
            pictures.append(draw_face(attributes, nuisance, 64).astype(float))
        distance = [np.abs(picture - pictures[0]).mean() for picture in pictures]
        assert (np.diff(distance) > 0).all(), f"{name}: {distance}"
        changed = np.abs(pictures[-1] - pictures[0]).max(axis=2) > 40
        assert changed.mean() > 0.012, f"{name} changes only {changed.sum()} of 4096 pixels clearly"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_every_attribute_can_be_read_from_the_pixels(name: str) -> None:
    """A linear reader of 32 x 32 pixels ranks held-out faces by the attribute, the others running free."""
    rng = np.random.default_rng(11)
    attributes = rng.random((1600, 6))
    pictures = np.stack([draw_face(row, sample_nuisance(rng), 64) for row in attributes])
    pixels = pictures.reshape(len(pictures), 32, 2, 32, 2, 3).mean(axis=(2, 4)).reshape(len(pictures), -1) / 255 - 0.5
    train, held_out, target = pixels[:1300], pixels[1300:], attributes[:, ATTRIBUTES.index(name)]
    gram = train @ train.T + 3.0 * np.eye(len(train))
    predicted = held_out @ train.T @ np.linalg.solve(gram, target[:1300] - 0.5)
    correlation = spearmanr(predicted, target[1300:]).statistic
    assert correlation > 0.8, f"{name}: {correlation:.3f}"
