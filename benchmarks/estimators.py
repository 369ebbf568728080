"""The four ways from an MLLM's digits to Somers' D, against the true one of the same drawn faces.

The shipped model answers through vLLM, about faces as drawn and spoilt. Its answers are then disturbed, and a simulated
scorer that is calibrated but unsure takes its place, to see which way holds up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.evaluation.relations import agreement
from gem_ray.graph.relations import ESTIMATORS, relations_from_scores, relations_from_values
from gem_ray.messages.questions import ScoreRequest
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer

SEED = 880_001  # no lesson, check or default data set has it
ASK_IMAGES = 64
NUM_DIGITS = 6
TARGET = 0.02
Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def estimators(images: int, sets: int) -> Iterator[dict[str, Any]]:
    """A line for each condition and estimator, with the spread over the sets; then the target and a control."""
    truth = np.array([face(SEED, index)[1] for index in range(images * sets)])
    answers = asyncio.run(ask(images * sets))
    conditions = answers | {
        "temperature 2": disturbed(answers["as drawn"], 2.0, 0.0),
        "temperature 4": disturbed(answers["as drawn"], 4.0, 0.0),
        "noise of 1 in the logits": disturbed(answers["as drawn"], 1.0, 1.0),
        "noise of 2 in the logits": disturbed(answers["as drawn"], 1.0, 2.0),
    }
    conditions |= {f"simulated, {error} digits off": unsure_scorer(truth, error) for error in (0.5, 1.0, 2.0, 3.0)}
    errors = {}
    for name, probabilities in conditions.items():
        for estimator in ESTIMATORS:
            line = compare(np.split(probabilities, sets), np.split(truth, sets), estimator)
            errors[name, estimator] = line["mean_error"]
            yield {"name": f"{name}: {estimator}", "images": images, "sets": sets} | line
    yield {"name": "least mean error"} | {n: min(ESTIMATORS, key=lambda e: errors[n, e]) for n in conditions}
    default = ScoringConfig().estimator
    reached = errors["as drawn", default]
    yield {"name": f"default {default} as drawn", "mean_error": reached, "target": TARGET, "met": reached <= TARGET}
    rng = np.random.default_rng(SEED)
    apart = np.stack([rng.permutation(answers["as drawn"][:, j]) for j in range(len(ATTRIBUTES))], axis=1)
    control = compare(np.split(apart, sets), np.split(truth, sets), default)["mean_error"]
    yield {"name": "control: answers dealt out to other faces", "mean_error": control, "met": control > 5 * TARGET}


def compare(answers: list[Array], truths: list[Array], estimator: str) -> dict[str, Any]:
    """Mean over the sets, with the extremes, of what ``agreement`` says of each."""
    found = []
    for probabilities, truth in zip(answers, truths, strict=True):
        true = relations_from_values(truth).strength
        found.append(agreement(relations_from_scores(probabilities, estimator).strength, true))
    errors = [float(a.mean_absolute_difference or 0) for a in found]
    return {
        "mean_error": round(float(np.mean(errors)), 4),
        "of_sets": [round(min(errors), 4), round(max(errors), 4)],
        "worst_error": round(max(float(a.max_absolute_difference or 0) for a in found), 4),
        "sign_agreement": round(float(np.mean([a.sign_agreement for a in found])), 4),
        "direction_agreement": round(float(np.mean([a.direction_agreement for a in found])), 4),
    }


def disturbed(probabilities: Array, temperature: float, noise: float) -> Array:
    """[N, n, 6] flattened by a temperature, after normal noise in the log-probabilities."""
    logits = np.log(np.maximum(probabilities, 1e-12))
    logits += noise * np.random.default_rng(SEED).normal(size=logits.shape)
    return softmax(logits / temperature)


def unsure_scorer(truth: Array, error: float) -> Array:
    """[N, n, 6] of a scorer that sees the true digit with a normal error and knows how common each digit is."""
    digits = np.rint(truth * (NUM_DIGITS - 1))
    seen = digits + error * np.random.default_rng(SEED).normal(size=digits.shape)
    common = (digits[..., None] == np.arange(NUM_DIGITS)).mean(0)
    return softmax(np.log(common + 1e-9) - (seen[..., None] - np.arange(NUM_DIGITS)) ** 2 / (2 * error**2))


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def blurred(image: Pixels, _: np.random.Generator) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def grainy(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.clip(image + rng.normal(0, 25, image.shape), 0, 255).astype(np.uint8)


async def ask(num_images: int) -> dict[str, Array]:
    """The shipped model's digit probabilities [N, 6, 6], NaN where missing, of faces as drawn, blurred and grainy."""
    spoilt: dict[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
        "as drawn": lambda image, _: image,
        "blurred by 2 pixels": blurred,
        "noise of 25 in the pixels": grainy,
    }
    scorer = VLLMScorer("nano", min_digit_mass=ScoringConfig().min_digit_mass, deadline_s=120.0)
    try:
        return {name: await _ask(scorer, num_images, spoil) for name, spoil in spoilt.items()}
    finally:
        scorer.shutdown()


async def _ask(scorer: VLLMScorer, num_images: int, spoil: Callable[[Pixels, np.random.Generator], Pixels]) -> Array:
    rng = np.random.default_rng(SEED)
    rows: list[tuple[float, ...]] = []
    for start in range(0, num_images, ASK_IMAGES):
        images = [spoil(face(SEED, i)[0], rng) for i in range(start, min(start + ASK_IMAGES, num_images))]
        requests = [
            ScoreRequest(image=image.tobytes(), height=image.shape[0], width=image.shape[1], attribute=attribute)
            for image in images
            for attribute in ATTRIBUTES
        ]
        rows += [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in await scorer.score(requests)]
    return np.array(rows).reshape(num_images, len(ATTRIBUTES), NUM_DIGITS)
