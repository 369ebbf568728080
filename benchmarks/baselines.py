"""Ratios of an earlier commit, and whether those of today are worse than their spread explains. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import Ratio

BASELINES = Path(__file__).with_name("baselines.json")
LEAST_LOSS = 0.02  # a median that is lower by less is nobody's business


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One ratio as it was: no rate is kept, since rates are of a machine and ratios of the code."""

    median: float
    least: float
    greatest: float
    repeats: int


@dataclass(frozen=True)
class Verdict:
    """What has become of one ratio: ``ok``, ``regressed``, ``better`` or ``new`` (no baseline), and in words."""

    name: str
    state: str
    words: str


def compared(ratios: Iterable[Ratio], baselines: Mapping[str, Baseline]) -> list[Verdict]:
    """A verdict on each ratio that is no control.

    A ratio has regressed where its median lies under every pair of the baseline and the baseline's median over every
    pair of today: then the two spreads cannot explain the loss. ``better`` is the same the other way round.
    """
    return [_verdict(ratio, baselines.get(ratio.name)) for ratio in ratios if not ratio.is_control]


def _verdict(ratio: Ratio, before: Baseline | None) -> Verdict:
    now = f"{ratio.median:.3g} ({ratio.least:.3g}-{ratio.greatest:.3g})"
    if before is None:
        return Verdict(ratio.name, "new", f"{now}, no baseline")
    words = f"{now}, baseline {before.median:.3g} ({before.least:.3g}-{before.greatest:.3g})"
    if ratio.median < before.least and ratio.greatest < before.median and _far(ratio.median, before.median):
        return Verdict(ratio.name, "regressed", words)
    if ratio.median > before.greatest and ratio.least > before.median and _far(before.median, ratio.median):
        return Verdict(ratio.name, "better", words)
    return Verdict(ratio.name, "ok", words)


def _far(lower: float, higher: float) -> bool:
    return lower < higher * (1 - LEAST_LOSS)


def read_baselines(path: Path = BASELINES) -> dict[str, Baseline]:
    """The committed ratios by name."""
    return {name: Baseline(**content) for name, content in json.loads(path.read_text())["ratios"].items()}


def write_baselines(ratios: Sequence[Ratio], machine: Mapping[str, object], path: Path = BASELINES) -> None:
    """Put the ratios in place of those of the same names; the others stay."""
    kept = {} if not path.exists() else json.loads(path.read_text())["ratios"]
    new = {
        ratio.name: {
            "median": ratio.median,
            "least": ratio.least,
            "greatest": ratio.greatest,
            "repeats": ratio.repeats,
        }
        for ratio in ratios
        if not ratio.is_control
    }
    content = {"machine": dict(machine), "ratios": dict(sorted({**kept, **new}.items()))}
    path.write_text(json.dumps(content, indent=1) + "\n")
