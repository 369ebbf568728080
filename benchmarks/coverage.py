"""How often nominal 95 % intervals of Somers' D cover the truth, over table shapes, strengths and sample sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.rarity import SPARSE
from gem_ray.graph.relations import Relations, relations_from_probabilities, relations_from_values, strength_interval

POPULATION = 300_000
SIZES = (100, 500, 1_500)
CORRELATIONS = (0.0, 0.3, 0.6, 0.9, 0.99)
WANTED = (0.92, 0.98)
AMPLE = 10.0
"""Images off its most common value from which on an attribute is not called sparse."""
EVEN = (-1.2, -0.5, 0.0, 0.5, 1.2)
Values = NDArray[np.float64]

SHARES = {
    "half, half": (0.5, 0.5),
    "male, beard": (0.42, 0.165),
    "blond, makeup": (0.15, 0.39),
    "one in twenty": (0.05, 0.3),
    "bald, makeup": (0.022, 0.39),
    "both rare": (0.02, 0.05),
}


def coverage(trials: int) -> Iterator[dict[str, Any]]:
    """One line for each shape, correlation and size; last, how many lie in the range that is wanted."""
    inside: dict[str, list[bool]] = {"ample": [], "sparse": []}
    control = []
    for shape, draw in shapes().items():
        for correlation in CORRELATIONS:
            rng = np.random.default_rng(0)
            population = draw(latent(rng, correlation))
            truth = relate(population)
            for size in SIZES:
                low, high, narrow, finite = cover(population, truth, size, trials, rng)
                quadrant, rarest = (share * size for share in rarest_shares(population))
                kind = "ample" if quadrant >= SPARSE and rarest >= AMPLE else "sparse"
                inside[kind] += [low >= WANTED[0] and (high <= WANTED[1] or kind == "sparse")]
                control.append(narrow)
                yield {
                    "name": f"{shape}, r={correlation}, N={size}",
                    "strength": [round(float(truth.strength[e]), 3) for e in ((0, 1), (1, 0))],
                    "covered": [round(low, 4), round(high, 4)], "finite": round(finite, 4),
                    "expected": {"smallest_quadrant": round(quadrant, 1), "off_mode": round(rarest, 1)},
                    "trials": trials,
                }  # fmt: skip
    for kind, kept in inside.items():
        what = "0.92 to 0.98" if kind == "ample" else "0.92 or more"
        yield {"name": f"{kind}: covered in {what}", "cases": len(kept), "kept": sum(kept)} | (
            {"met": all(kept)} if kind == "ample" else {}
        )
    mean = float(np.mean(control))
    yield {"name": "control: errors halved", "covered": round(mean, 3), "met": mean < 0.8}


def cover(
    population: Values, truth: Relations, size: int, trials: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Share of samples whose interval covers: the lower and the higher of the two directions, of those with a finite
    error; the share with half the error; and the share with a finite error."""
    covered, narrow, finite = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2))
    for _ in range(trials):
        sample = relate(population[rng.integers(0, len(population), size)])
        known = np.isfinite(sample.standard_error)
        finite += known
        for counts, error in ((covered, sample.standard_error), (narrow, sample.standard_error / 2)):
            low, high = strength_interval(sample.strength, error)
            counts += known & (low <= truth.strength) & (truth.strength <= high)
    off = ([0, 1], [1, 0])
    shares = covered[off] / np.maximum(finite[off], 1)
    half = narrow[off] / np.maximum(finite[off], 1)
    return float(shares.min()), float(shares.max()), float(half.mean()), float(finite[off].mean() / trials)


def relate(population: Values) -> Relations:
    """By digit distributions where there is a last axis of digits, else by values."""
    return relations_from_probabilities(population) if population.ndim == 3 else relations_from_values(population)


def rarest_shares(population: Values) -> tuple[float, float]:
    """Shares of a pair's smallest quadrant (see ``rarity``), and of images off the mode of the rarer attribute.

    Of a graded attribute, which has no value that half of the images share, quadrants say nothing: 1.
    """
    off = []
    for j in (0, 1):
        column = population[:, j]
        if column.ndim == 2:
            off.append(1 - column[:, column.sum(0).argmax()])
        else:
            values, counts = np.unique(column, return_counts=True)
            off.append((column != values[counts.argmax()]).astype(float))
    a, b = off
    rarest = float(min(a.mean(), b.mean()))
    if max(a.mean(), b.mean()) > 0.5:
        return 1.0, rarest
    return float(min((x * y).mean() for x in (a, 1 - a) for y in (b, 1 - b))), rarest


def latent(rng: np.random.Generator, correlation: float) -> Values:
    """Two normal columns [N, 2]."""
    x, noise = rng.normal(size=(2, POPULATION))
    return np.stack([x, correlation * x + np.sqrt(1 - correlation**2) * noise], axis=1)


def shapes() -> dict[str, Callable[[Values], Values]]:
    """Populations [N, 2, 6] of digit distributions or [N, 2] of values, from two normal columns."""

    def present(shares: tuple[float, float]) -> Callable[[Values], Values]:
        def draw(z: Values) -> Values:
            shown = z > [np.quantile(z[:, j], 1 - share) for j, share in enumerate(shares)]
            return np.eye(6)[5 * shown.astype(int)]

        return draw

    def not_sure(z: Values) -> Values:
        logits = -((np.arange(6) - 2.5 - 1.3 * z[..., None]) ** 2)
        return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def rare_and_graded(z: Values) -> Values:
        rare, graded = np.searchsorted((1.6, 1.8, 2.0, 2.2, 2.5), z[:, 0]), np.searchsorted(EVEN, z[:, 1])
        return np.eye(6)[np.stack([rare, graded], axis=1)]

    return {
        **{f"digits: present, {name}": present(shares) for name, shares in SHARES.items()},
        "digits: graded": lambda z: np.eye(6)[np.searchsorted(EVEN, z)],
        "digits: absent, or graded": lambda z: np.eye(6)[np.searchsorted((0.8, 1.0, 1.2, 1.5, 1.8), z)],
        "digits: rare, graded": rare_and_graded,
        "distributions: not sure": not_sure,
        "values: real": lambda z: z,
        "values: absent, or real": lambda z: np.maximum(z - 0.3, 0.0),
    }
