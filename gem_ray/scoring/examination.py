"""How well an MLLM scores parametric faces: rank correlation, error in digits, presence, mass on the digits.

The faces are the same for every model and were never trained on. For each attribute it runs evenly over [0, 1] while
the others follow the true distribution without baldness, which would hide hair; presence is measured on the true
distribution itself.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gem_ray.data.faces import ATTRIBUTES, WEAKEST, draw_face, face, sample_nuisance
from gem_ray.scoring.engine import Scorer
from gem_ray.scoring.prompts import NUM_DIGITS
from gem_ray.scoring.questions import Questioner

SEED = 990_001
SIDE = 64
BATCH_QUESTIONS, MAX_IN_FLIGHT = 48, 4


@dataclass(frozen=True)
class Examination:
    """Results by attribute, in the order of ``ATTRIBUTES``.

    Args:
        rank_correlation: Spearman of score and true attribute, even over [0, 1]
        error: mean absolute error of the expectation, in digits
        presence: share of faces of the true distribution whose attribute is rightly called present or absent
        digit_mass: mean probability on the digits over all answers
        num_missing: answers that could not be read
        questions_per_s: over the whole examination
    """

    rank_correlation: NDArray[np.float64]
    error: NDArray[np.float64]
    presence: NDArray[np.float64]
    digit_mass: float
    num_missing: int
    questions_per_s: float


def even_faces(attribute: int, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Faces uint8 [N, 64, 64, 3] in which one attribute takes N even values [N] and nothing hides it."""
    values = (np.arange(count) + 0.5) / count
    images = []
    for index, value in enumerate(values):
        attributes = face(SEED, count * attribute + index, 8)[1]
        attributes[ATTRIBUTES.index("bald")] = 0.0
        attributes[attribute] = value
        nuisance = sample_nuisance(np.random.default_rng((SEED, attribute, index)))
        images.append(draw_face(attributes, nuisance, SIDE))
    return np.stack(images), values


async def examine(scorer: Scorer, num_faces: int) -> Examination:
    """Ask about ``num_faces`` faces for each attribute, and as many of the true distribution."""
    questioner = Questioner(scorer, batch_questions=BATCH_QUESTIONS, max_in_flight=MAX_IN_FLIGHT)
    began = asyncio.get_running_loop().time()
    correlation, error = [], []
    for attribute, name in enumerate(ATTRIBUTES):
        images, values = even_faces(attribute, num_faces)
        scores = await _expectations(questioner, images, (name,))
        known = ~np.isnan(scores[:, 0])
        correlation.append(float(spearmanr(scores[known, 0], values[known]).statistic))
        error.append(float(np.abs(scores[known, 0] - (NUM_DIGITS - 1) * values[known]).mean()))
    faces = [face(SEED + 1, index, SIDE) for index in range(num_faces)]
    scores = await _expectations(questioner, np.stack([image for image, _ in faces]), ATTRIBUTES)
    present = np.stack([attributes for _, attributes in faces]) > 0
    called = scores > (NUM_DIGITS - 1) * WEAKEST / 2  # halfway between absent and the weakest that is present
    return Examination(
        rank_correlation=np.array(correlation),
        error=np.array(error),
        presence=(called == present).mean(axis=0),
        digit_mass=questioner.digit_mass or 0.0,
        num_missing=questioner.missing,
        questions_per_s=questioner.asked / (asyncio.get_running_loop().time() - began),
    )


async def _expectations(
    questioner: Questioner, images: NDArray[np.uint8], names: tuple[str, ...]
) -> NDArray[np.float64]:
    answers = await questioner.ask(images, names)
    values = [np.nan if answer.expectation is None else answer.expectation for answer in answers]
    return np.array(values).reshape(len(images), len(names))
