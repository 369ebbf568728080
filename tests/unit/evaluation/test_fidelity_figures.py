from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from gem_ray.evaluation.fidelity_figures import fidelity_figure
from gem_ray.evaluation.plot_style import NEGATIVE, POSITIVE
from gem_ray.evaluation.spending import Look
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EvidenceKind

NAMES = ("bald", "cost in $ or 100%", "a name that is much too long for any figure")
STRENGTH = np.array([[0.0, 0.5, -0.4], [0.6, 0.0, 0.2], [-0.3, 0.1, 0.0]])


def make_graph(known: int = 9) -> DisGraph:
    """Samples show half of every relation, for the first ``known`` places of the matrix."""
    graph = DisGraph.from_strength(NAMES, STRENGTH, np.full((3, 3), 0.03))
    there = (np.arange(9).reshape(3, 3) < known) & ~np.eye(3, dtype=bool)
    sampled = dataclasses.replace(
        Layer.unknown(3), value=np.where(there, STRENGTH / 2, np.nan), standard_error=np.where(there, 0.05, np.inf)
    )
    return dataclasses.replace(graph, layers={**graph.layers, EvidenceKind.SAMPLES: sampled})


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def holds(pixels: np.ndarray, colour: str) -> bool:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(pixels - rgb).max(axis=2) <= 12).any())


def test_edges_are_coloured_by_their_sign_in_the_data():
    pixels = picture(fidelity_figure(make_graph(), ()))
    assert holds(pixels, POSITIVE)
    assert holds(pixels, NEGATIVE)


def test_edges_that_were_not_looked_at_are_left_out():
    assert not holds(picture(fidelity_figure(make_graph(known=2), ())), NEGATIVE)


@pytest.mark.parametrize("num_looks", [0, 1, 2, 12])
def test_looks_are_drawn_where_there_are_several(num_looks):
    looks = [Look(100 * number, 0.2 - 0.01 * number, 0.05) for number in range(num_looks)]
    width = picture(fidelity_figure(make_graph(), looks)).shape[1]
    assert (width > 1_000) == (num_looks > 1)
