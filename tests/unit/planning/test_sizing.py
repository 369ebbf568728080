"""The sizing table of the operator's page is the one that the formulas give."""

from __future__ import annotations

from pathlib import Path

import pytest

from gem_ray.planning.sizing import SCALES, Scale, limits, sizing_table

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_document_holds_the_table_of_the_formulas():
    assert sizing_table() in PAGE.read_text(encoding="utf-8")


def test_figures_are_those_of_the_closed_form():
    scale = Scale(10**8, 64, True, 64)
    assert scale.hours == pytest.approx(10**8 * 20 / (64 * 10_000) / 3600)
    assert scale.shard_bytes == 10**8 * 12_296
    used = {limit.name: limit.used for limit in limits(scale)}
    assert used["listing"] == pytest.approx(10**8 * 324 / 8e9)
    assert used["batch"] == 1.0
    assert used["restarts"] == pytest.approx(64 * 0.05 * 95 / 3600 / 0.1)
    assert used["polls"] == pytest.approx(64 * 0.0007 / 0.5)


def test_more_of_everything_is_nearer_to_every_limit_of_workers():
    small, large = ({limit.name: limit.used for limit in limits(scale)} for scale in SCALES[-2:])
    assert all(large[name] > small[name] for name in ("restarts", "exchange", "polls", "reads", "batch", "listing"))
