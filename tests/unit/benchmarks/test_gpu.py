"""The GPU script in small on a CPU: what it counts is right, and a part of it runs from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.figures import ALL, Figure
from benchmarks.gpu.ingest import Ahead, host_batches
from benchmarks.gpu.traffic import of_step

CPU = torch.device("cpu")


def test_a_product_counts_its_flop_and_the_bytes_of_its_operands_and_result() -> None:
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    flop, moved = of_step(lambda: a @ b)
    assert flop == 2 * 8 * 16 * 4
    assert moved == 4 * (8 * 16 + 16 * 4 + 8 * 4)


def test_a_view_moves_nothing() -> None:
    assert of_step(lambda: torch.ones(4, 4).view(16))[1] == 64


def test_batches_that_are_taken_ahead_are_the_same_as_those_taken_when_needed() -> None:
    ahead = Ahead(host_batches(16, 4, 8), CPU)
    taken = iter(ahead)
    for expected, _ in zip(host_batches(16, 4, 8), range(6), strict=False):
        torch.testing.assert_close(next(taken), expected.float() / 255)
    ahead.close()


def test_a_target_may_be_a_ceiling() -> None:
    assert Figure(name="x", what="", value=0.04, unit="", target=0.05, at_most=True).met
    assert not Figure(name="x", what="", value=0.06, unit="", target=0.05, at_most=True).met
    assert not Figure(name="x", what="", value=0.9, unit="", target=0.95).met
    assert Figure(name="x", what="", value=0.0, unit="").met


def run(folder: Path, *parts: str) -> set[str]:
    main(["--device", "cpu", "--quick", "--repeats", "1", "--output", str(folder), "--only", *parts])
    ceilings, *figures = map(json.loads, (folder / "gpu.jsonl").read_text().splitlines())
    assert min(ceilings["copy"], ceilings["bf16"], ceilings["upload"]) > 0
    assert "pinned upload" in (folder / "gpu.md").read_text()
    assert all(figure["value"] >= 0 for figure in figures)
    return {figure["name"].split()[0] for figure in figures}


def test_a_part_runs_on_a_cpu(tmp_path: Path) -> None:
    assert run(tmp_path, "gather") == {"G2"}


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    assert run(tmp_path, *ALL) == {"G1", "G2", "G3", "G4", "G5", "G6", "G7", "G9"}
