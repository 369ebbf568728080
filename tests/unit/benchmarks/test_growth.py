"""Exponents of growth: those of power laws are found, a surprise is said, and the script draws what it measured."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.growth.__main__ import main
from benchmarks.growth.fits import Curve, exponent

SIZES = (10.0, 100.0, 1000.0)


def curve(costs: tuple[float, ...], most: float | None, fit_from: float = 0.0) -> Curve:
    return Curve(name="step", x="images", y="s", sizes=SIZES, costs=costs, most=most, fit_from=fit_from)


@pytest.mark.parametrize("power", [-1.0, 0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    assert exponent(SIZES, [3 * size**power for size in SIZES]) == pytest.approx(power)


def test_growth_beyond_what_is_claimed_is_a_surprise() -> None:
    quadratic = tuple(size**2 for size in SIZES)
    assert curve(quadratic, most=1.1).surprising
    assert "exponent 2.00, at most 1.1 is expected: SURPRISING" in curve(quadratic, most=1.1).line()
    assert not curve(quadratic, most=2.1).surprising
    assert not curve(quadratic, most=None).surprising


def test_sizes_that_pay_a_fixed_cost_above_all_are_not_fitted() -> None:
    costs = (5.0, 10.0, 100.0)
    assert curve(costs, None, fit_from=100.0).exponent == pytest.approx(1.0)
    assert curve(costs, None).exponent < 0.7
    assert math.isnan(curve(costs, None, fit_from=1000.0).exponent)


@pytest.mark.slow
def test_the_script_measures_what_is_asked_for_and_plots_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):  # two points of a busy machine may surprise, which is the exit status
        main(["--only", "attributes", "--attributes", "6", "12", "--output", str(tmp_path)])
    said = capsys.readouterr().out
    assert "prompts an image: exponent 1.00" in said
    assert (tmp_path / "attributes.png").read_bytes().startswith(b"\x89PNG")
    _, *curves = map(json.loads, (tmp_path / "growth.jsonl").read_text().splitlines())
    assert {found["name"] for found in curves} == {
        "step",
        "message passing",
        "Somers' D, all pairs",
        "prompts an image",
    }
    assert all(found["sizes"] == [6.0, 12.0] for found in curves)
