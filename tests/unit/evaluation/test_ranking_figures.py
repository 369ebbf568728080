from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gem_ray.evaluation.ranking import ranked_pairs
from gem_ray.evaluation.ranking_figures import MOST_DRAWN, ranking_figure, ranking_table
from gem_ray.graph.disgraph import DisGraph


def make_graph(n: int = 4) -> DisGraph:
    rng = np.random.default_rng(0)
    error = np.full((n, n), 0.05)
    error[1, 0] = np.inf
    names = ("bald", "beard", "male", "$x_1$ [bold]", *(f"attribute {k}" for k in range(n - 4)))
    return DisGraph.from_strength(names[:n], np.clip(rng.normal(0, 0.3, (n, n)), -1, 1), error)


def printed(width: int, n: int = 4, most: int = 0) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(ranking_table(ranked_pairs(make_graph(n)), 7, most))
    return console.file.getvalue()


def test_the_table_names_every_direction_its_interval_and_its_noise():
    text = printed(110)
    assert "DisGraph version 7" in text
    assert text.count("→") == 12
    assert "[+" in text
    assert "noise?" in text
    assert "Benjamini-Hochberg" in text


def test_the_table_fits_a_terminal_of_80_columns():
    assert max(map(len, printed(80).splitlines())) <= 80
    assert "beard → male" in printed(80)


def test_names_of_attributes_are_shown_as_they_are():
    assert "$x_1$ [bold]" in printed(110)


def test_the_table_can_be_cut_to_the_strongest_pairs():
    assert printed(110, most=2).count("→") == 4


@pytest.mark.parametrize("n", [2, 4, 14])
def test_the_figure_has_a_row_for_every_pair_up_to_a_bound(n):
    pairs = ranked_pairs(make_graph(n))
    picture = Image.open(io.BytesIO(ranking_figure(pairs, 7)))
    assert picture.format == "PNG"
    rows = min(len(pairs), MOST_DRAWN)
    assert picture.height == pytest.approx((0.25 * rows + 1.45) * 192, abs=2)


def test_a_graph_without_evidence_can_be_drawn():
    pairs = ranked_pairs(DisGraph.empty(("bald", "male")))
    assert ranking_figure(pairs, 0).startswith(b"\x89PNG")
