"""Asks an MLLM about images whose attributes are known, and reckons how well it does (the paper's figure 8).

Drawn faces answer two questions. Does a score follow the attribute? Asked of faces in which the attribute runs evenly
over [0, 1] while the others follow the true distribution without baldness, which would hide hair. Is presence told?
Asked of the true distribution itself. Labelled photographs, which know presence only, answer both at once. The faces
are the same for every model, and no lesson and no default data set has their seed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.faces import ATTRIBUTES, draw_face, face, sample_nuisance
from gem_ray.data.labelled import LabelledImages
from gem_ray.errors import ConfigError
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.checking.agreement import (
    TOP_DIGIT,
    accuracy,
    auroc,
    best_threshold,
    calibration_error,
    rank_correlation,
    reliability,
)
from gem_ray.scoring.checking.checks import AttributeCheck
from gem_ray.scoring.checking.rates import scan_rates

SEED = 990_001
SIDE = 64
MID = TOP_DIGIT / 2
ASK_IMAGES = 256  # of one call: a bound for memory, and a step of the progress line

Ask = Callable[[NDArray[np.uint8], Sequence[str]], Awaitable[list[ScoreAnswer]]]
"""Asks about some attributes of images uint8 [N, H, W, 3]; answers image by image."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sitting:
    """Images to be asked about.

    Args:
        images: uint8 [N, H, W, 3]
        attributes: names of the n attributes to ask about
        truth: float64 [N, n] in [0, 1], NaN where not known
        follows, present: whether it tells how a score follows the attribute, and whether presence is told
    """

    images: NDArray[np.uint8]
    attributes: tuple[str, ...]
    truth: NDArray[np.float64]
    follows: bool
    present: bool

    @property
    def num_questions(self) -> int:
        """Questions of the sitting."""
        return self.truth.size


@dataclass(frozen=True)
class Answered:
    """Answers about one attribute: digit probabilities [N, 6] (NaN: missing), mass on the digits [N], truth [N]."""

    probabilities: NDArray[np.float64]
    digit_mass: NDArray[np.float64]
    truth: NDArray[np.float64]

    @property
    def known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expectations and truths of the images that have both."""
        scores = self.probabilities @ np.arange(NUM_DIGITS, dtype=np.float64)
        both = ~np.isnan(scores) & ~np.isnan(self.truth)
        return scores[both], self.truth[both]


@dataclass(frozen=True)
class Examination:
    """Results by attribute, questions asked, and the seconds they took."""

    attributes: tuple[AttributeCheck, ...]
    num_questions: int
    seconds: float


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


def face_sittings(attributes: Sequence[str], num_faces: int) -> list[Sitting]:
    """``num_faces`` even faces for each attribute, and as many of the true distribution for all of them.

    Raises:
        ConfigError: an attribute that the drawn faces do not have
    """
    unknown = [name for name in attributes if name not in ATTRIBUTES]
    if unknown:
        raise ConfigError(
            f"drawn faces have no attribute {', '.join(unknown)}; they have {', '.join(ATTRIBUTES)}. Give "
            "check.source= a labelled set"
        )
    columns = [ATTRIBUTES.index(name) for name in attributes]
    sittings = []
    for column, name in zip(columns, attributes):
        images, values = even_faces(column, num_faces)
        sittings.append(Sitting(images, (name,), values[:, None], follows=True, present=False))
    faces = [face(SEED + 1, index, SIDE) for index in range(num_faces)]
    truth = np.stack([values for _, values in faces])[:, columns]
    images = np.stack([image for image, _ in faces])
    return [*sittings, Sitting(images, tuple(attributes), truth, follows=False, present=True)]


def labelled_sitting(labelled: LabelledImages) -> Sitting:
    """All of a labelled set."""
    return Sitting(labelled.images, labelled.attributes, labelled.truth, follows=True, present=True)


async def examine(ask: Ask, sittings: Sequence[Sitting], progress: Progress = lambda done, total: None) -> Examination:
    """Ask every question of the sittings and reckon.

    Args:
        progress: called with the questions answered so far and in all
    """
    total = sum(sitting.num_questions for sitting in sittings)
    done = 0
    clock = asyncio.get_running_loop().time
    began = clock()
    follows: dict[str, Answered] = {}
    present: dict[str, Answered] = {}
    for sitting in sittings:
        answers: list[ScoreAnswer] = []
        for start in range(0, len(sitting.images), ASK_IMAGES):
            answers += await ask(sitting.images[start : start + ASK_IMAGES], sitting.attributes)
            progress(done + len(answers), total)
        done += len(answers)
        for name, answered in _by_attribute(sitting, answers).items():
            follows |= {name: answered} if sitting.follows else {}
            present |= {name: answered} if sitting.present else {}
    checks = tuple(attribute_check(name, follows[name], present[name]) for name in follows)
    return Examination(checks, total, clock() - began)


def attribute_check(name: str, follows: Answered, present: Answered) -> AttributeCheck:
    """The figures of one attribute.

    Args:
        follows: answers that tell how the score follows the attribute
        present: answers that tell presence; may be the same ones
    """
    scores, truth = follows.known
    bins = reliability(scores, truth)
    graded = bool(np.isin(truth, (0.0, 1.0)).mean() < 1.0) if len(truth) else False
    seen, presence = present.known[0], present.known[1] > 0
    threshold, best = best_threshold(seen, presence)
    asked = [present] if follows is present else [follows, present]
    everything = np.concatenate([part.probabilities for part in asked])[:, None]
    return AttributeCheck(
        name=name,
        num_images=len(seen),
        num_present=int(presence.sum()),
        rank_correlation=rank_correlation(scores, truth),
        auroc=auroc(seen, presence),
        accuracy_mid=accuracy(seen, presence, MID),
        accuracy_best=best,
        best_threshold=threshold,
        calibration_error=calibration_error(bins),
        mean_error=float(np.abs(scores - TOP_DIGIT * truth).mean()) if graded else np.nan,
        zero_rate=float(scan_rates(present.probabilities[:, None]).zero[0]),
        failure_rate=float(scan_rates(everything).failure[0]),
        digit_mass=float(np.concatenate([part.digit_mass for part in asked]).mean()),
        reliability=bins,
    )


def _by_attribute(sitting: Sitting, answers: Sequence[ScoreAnswer]) -> dict[str, Answered]:
    shape = sitting.truth.shape
    values = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
    probabilities = np.array(values, dtype=np.float64).reshape(*shape, NUM_DIGITS)
    mass = np.array([answer.digit_mass for answer in answers], dtype=np.float64).reshape(shape)
    return {
        name: Answered(probabilities[:, j], mass[:, j], sitting.truth[:, j])
        for j, name in enumerate(sitting.attributes)
    }
