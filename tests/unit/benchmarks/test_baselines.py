"""A regression is a loss that neither spread explains; anything less is noise, and a better ratio is no regression."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import GROUPS
from benchmarks.baselines import BASELINES, Baseline, compared, read_baselines, write_baselines
from benchmarks.timing import Ratio, Turns, figures

BEFORE = {"x": Baseline(median=2.0, least=1.9, greatest=2.1, repeats=5)}


def today(a: list[float], b: float = 2.0) -> list[Ratio]:
    """The ratio of A to B and its control, from seconds of A."""
    return list(figures("x", "", Turns(a, [b] * len(a), [1.3 * t for t in a], 0.3), 1, "calls/s"))


@pytest.mark.parametrize(
    ("seconds_of_a", "state"),
    [
        ([1.0, 1.01, 0.99, 1.02, 0.98], "ok"),
        ([1.3, 1.31, 1.29, 1.32, 1.28], "regressed"),  # 30 % planted in A
        ([0.7, 0.71, 0.69, 0.72, 0.68], "better"),
        ([1.3, 1.31, 0.9, 1.32, 1.28], "ok"),  # one pair as fast as ever: the spread explains it
        ([1.04, 1.04, 1.04, 1.04, 1.04], "ok"),  # inside the spread of the baseline
    ],
)
def test_verdict(seconds_of_a: list[float], state: str) -> None:
    (verdict,) = compared(today(seconds_of_a), BEFORE)
    assert verdict.state == state
    assert "baseline 2 (1.9-2.1)" in verdict.words


def test_a_loss_of_less_than_two_percent_is_nobodys_business_however_narrow_the_spread() -> None:
    narrow = {"x": Baseline(median=2.0, least=2.0, greatest=2.0, repeats=5)}
    assert compared(today([1.01] * 5), narrow)[0].state == "ok"
    assert compared(today([1.03] * 5), narrow)[0].state == "regressed"


def test_a_ratio_without_a_baseline_is_new_and_controls_are_not_compared() -> None:
    (verdict,) = compared(today([1.0] * 5), {})
    assert verdict.state == "new"


def test_writing_some_baselines_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "baselines.json"
    write_baselines(today([1.0] * 5), {"cores": 2}, path)
    write_baselines([Ratio(**{**vars(today([0.5] * 5)[0]), "name": "y"})], {"cores": 2}, path)
    found = read_baselines(path)
    assert found["x"].median == 2.0
    assert found["y"].median == 4.0
    assert set(found) == {"x", "y"}
    assert "rate" not in path.read_text()


def test_the_committed_baselines_hold_ratios_alone_and_can_be_read() -> None:
    content = json.loads(BASELINES.read_text())
    assert set(content) == {"machine", "ratios"}
    for baseline in read_baselines().values():
        assert 0 < baseline.least <= baseline.median <= baseline.greatest
        assert baseline.repeats >= 5
    assert len(read_baselines()) >= len(GROUPS) // 2
