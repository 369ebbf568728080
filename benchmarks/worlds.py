"""Worlds whose relations are known, and MLLMs that answer about them, to measure what choosing questions is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

NUM_DIGITS = 6
BLOCK = 16  # images asked about at a time
SEED_OF_FACES = 90_210  # none that the nano model was trained on


class ImageWorld(Protocol):
    """Attributes of endless, or of ``num_blocks`` blocks of images."""

    truth: NDArray[np.float64]  # [n, n] Somers' D of the attributes themselves, not of anybody's answers
    num_blocks: int | None  # None: endless

    def answers(self, block: int) -> NDArray[np.float64]:
        """Digit probabilities [BLOCK, n, 6]; the same on every call."""
        ...


class FactorWorld:
    """Attributes that are present where a latent normal variable exceeds a threshold; an MLLM that is unsure near it.

    The latents share two factors (communality .7 to .95), prevalences run evenly in the logarithm from .03 to .5. The
    MLLM sees each latent with noise of its own size, says 5 or 0 with the probability of a logistic curve around the
    threshold, and leaks some of it to the digit beside. The truth is exact: bivariate normal orthants.
    """

    num_blocks: int | None = None

    def __init__(self, num_attributes: int, seed: int) -> None:
        n, rng = num_attributes, np.random.default_rng([seed, 1])
        loadings = rng.normal(size=(n, 2))
        loadings *= np.sqrt(rng.uniform(0.7, 0.95, (n, 1))) / np.linalg.norm(loadings, axis=1, keepdims=True)
        self.prevalence = rng.permutation(np.geomspace(0.03, 0.5, n))
        self._seed, self._loadings = seed, loadings
        self._own = np.sqrt(1.0 - (loadings**2).sum(axis=1))
        self._threshold = norm.isf(self.prevalence)
        self._noise, self._leak = 0.15 * rng.uniform(0.5, 1.5, n), 0.004 * rng.uniform(0.0, 2.0, n)
        self.truth = self._true_strength(loadings @ loadings.T)

    def _true_strength(self, correlation: NDArray[np.float64]) -> NDArray[np.float64]:
        n, p = len(correlation), self.prevalence
        truth = np.zeros((n, n))
        for i in range(n):
            for j in range(i + 1, n):
                rho = correlation[i, j]
                both = multivariate_normal.cdf(-self._threshold[[i, j]], cov=[[1.0, rho], [rho, 1.0]])
                truth[i, j] = both / p[i] - (p[j] - both) / (1.0 - p[i])
                truth[j, i] = both / p[j] - (p[i] - both) / (1.0 - p[j])
        return truth

    def answers(self, block: int) -> NDArray[np.float64]:
        """See ``ImageWorld``."""
        rng, n = np.random.default_rng([self._seed, 2, block]), len(self._own)
        latent = rng.normal(size=(BLOCK, 2)) @ self._loadings.T + self._own * rng.normal(size=(BLOCK, n))
        margin = latent - self._threshold + self._noise * rng.normal(size=(BLOCK, n))
        present = 1.0 / (1.0 + np.exp(-np.clip(margin / 0.08, -50.0, 50.0)))
        digits = np.zeros((BLOCK, n, NUM_DIGITS))
        digits[..., 5], digits[..., 4] = present * (1.0 - self._leak), present * self._leak
        digits[..., 0], digits[..., 1] = (1.0 - present) * (1.0 - self._leak), (1.0 - present) * self._leak
        return digits


class ReplayedWorld:
    """Answers given once, replayed with the images in an order of the seed's."""

    def __init__(self, truth: NDArray[np.float64], answers: NDArray[np.float64], seed: int) -> None:
        n = len(truth)
        self.truth = truth
        self.num_blocks: int | None = len(answers) // BLOCK
        order = np.random.default_rng([seed, 8]).permutation(len(answers))[: len(answers) // BLOCK * BLOCK]
        self._blocks = answers[order].reshape(-1, BLOCK, n, NUM_DIGITS)

    def answers(self, block: int) -> NDArray[np.float64]:
        """See ``ImageWorld``."""
        answers: NDArray[np.float64] = self._blocks[block]
        return answers


def ask_nano(num_images: int, say: Callable[[str], None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True relations [6, 6] of drawn faces, and digit probabilities [N, 6, 6] by the shipped MLLM in vLLM."""
    from gem_ray.data.faces import ATTRIBUTES, face, true_strength
    from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
    from gem_ray.scoring.asking.vllm_scorer import VLLMScorer

    def requests(index: int) -> list[ScoreRequest]:
        pixels = face(SEED_OF_FACES, index)[0]
        height, width, _ = pixels.shape
        return [ScoreRequest(image=pixels.tobytes(), height=height, width=width, attribute=a) for a in ATTRIBUTES]

    async def ask() -> list[ScoreAnswer]:
        scorer = VLLMScorer("nano", min_digit_mass=0.5, deadline_s=60.0)
        answers: list[ScoreAnswer] = []
        try:
            for start in range(0, num_images, 64):
                batch = [r for index in range(start, min(start + 64, num_images)) for r in requests(index)]
                answers += await scorer.score(batch)
                say(f"nano: {len(answers)} of {num_images * len(ATTRIBUTES)} questions answered")
        finally:
            scorer.shutdown()
        return answers

    rows = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in asyncio.run(ask())]
    return np.array(true_strength()), np.array(rows).reshape(num_images, len(ATTRIBUTES), NUM_DIGITS)


class JudgedWorld:
    """Directed pairs that an MLLM judges directly, each answer with the noise of its pair, in both mention orders.

    The noise differs from pair to pair (log-normal around .12, sigma .8). Every wording is a fresh draw.
    """

    def __init__(self, num_attributes: int, seed: int) -> None:
        self.truth = FactorWorld(num_attributes, seed).truth
        rng = np.random.default_rng([seed, 3])
        self._noise = rng.lognormal(np.log(0.12), 0.8, self.truth.shape)
        self._rng = rng

    def judge(self, pair: tuple[int, int]) -> NDArray[np.float64]:
        """Two answers, one a mention order."""
        return self.truth[pair] + self._noise[pair] * self._rng.normal(size=2)


class DriftingWorld:
    """What a model shows, pair by pair, while it trains: a fifth of the relations drift, the others stay.

    A look at a pair has the noise of that pair (log-normal around .015, sigma .8) and replaces the look before. The
    learned weight, which any checkpoint tells for nothing, differs from what is shown by a constant of its own
    (standard deviation .1) and some jitter (.01).

    Args:
        follows: how much of the movement of what is shown the learned weight makes, in [0, 1]; the rest of its movement
            is a drift of its own, of other pairs
    """

    DRIFTING, STEP = 0.2, 0.1

    def __init__(self, num_attributes: int, seed: int, follows: float) -> None:
        rng = np.random.default_rng([seed, 4])
        start = FactorWorld(num_attributes, seed).truth
        off_diagonal = ~np.eye(num_attributes, dtype=bool)
        self._rng = rng
        self._drifts = off_diagonal & (rng.random(start.shape) < self.DRIFTING)
        self._noise = rng.lognormal(np.log(0.015), 0.8, start.shape)
        self._offset = np.where(off_diagonal, rng.normal(0.0, 0.1, start.shape), 0.0)
        self.influence = rng.lognormal(0.0, 0.5, start.shape)
        self.shown, self._own, self._follows = start, start, follows
        self._own_drifts = off_diagonal & (rng.random(start.shape) < self.DRIFTING)

    def train(self) -> None:
        """Go on to the next checkpoint."""
        self.shown = self._walked(self.shown, self._drifts)
        self._own = self._walked(self._own, self._own_drifts)

    def _walked(self, values: NDArray[np.float64], drifts: NDArray[np.bool_]) -> NDArray[np.float64]:
        moved = values + self.STEP * self._rng.normal(size=values.shape)
        return np.where(drifts, np.clip(moved, -1.0, 1.0), values)

    def learned(self) -> NDArray[np.float64]:
        """[n, n] of the checkpoint."""
        moved = self._follows * self.shown + (1.0 - self._follows) * self._own
        return moved + self._offset + 0.01 * self._rng.normal(size=moved.shape)

    def look(self, pairs: tuple[NDArray[np.integer[Any]], ...]) -> NDArray[np.float64]:
        """What is seen of some pairs."""
        return np.clip(self.shown[pairs] + self._noise[pairs] * self._rng.normal(size=len(pairs[0])), -1.0, 1.0)
