"""The GPU script in small on a CPU: what it counts is right, and a part of it runs from end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.figures import ALL, Figure
from benchmarks.gpu.ingest import Ahead, host_batches
from benchmarks.gpu.steps import EAGER, stepper
from benchmarks.gpu.traffic import of_step

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[3]


def test_a_product_counts_its_flop_and_the_bytes_of_its_operands_and_result() -> None:
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    flop, moved = of_step(lambda: a @ b)
    assert flop == 2 * 8 * 16 * 4
    assert moved == 4 * (8 * 16 + 16 * 4 + 8 * 4)


def test_what_can_be_fused_into_a_product_moves_nothing_of_its_own() -> None:
    assert of_step(lambda: torch.ones(4, 4).exp().view(16))[1] == 0


def test_adam_reads_four_of_each_parameter_and_writes_three() -> None:
    weight = torch.ones(1000, requires_grad=True)
    weight.grad = torch.ones(1000)
    optimizer = torch.optim.Adam([weight], fused=True)
    optimizer.step()
    assert of_step(optimizer.step)[1] == pytest.approx(7 * 4000, rel=0.01)


def test_a_step_of_another_graph_is_made_on_other_tensors() -> None:
    form = stepper(EAGER, CPU, 2, 64)
    form.run()
    form.inputs = form.inputs._replace(strength=torch.zeros_like(form.inputs.strength))
    form.run()
    assert form.losses[0] != form.losses[1]


WITHOUT_CLIENTS = """
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"botocore", "boto3", "s3fs", "aiohttp", "ray", "hydra", "vllm"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import torch
from benchmarks.gpu.figures import ALL
from benchmarks.gpu.steps import EAGER, stepper
stepper(EAGER, torch.device("cpu"), 2, 64).run()
"""


def test_a_machine_needs_neither_ray_nor_clients_of_storage() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_CLIENTS], cwd=ROOT, check=True, timeout=120)


def test_a_part_that_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[Figure]:
        yield Figure(name="G3 first", what="", value=1.0, unit="")
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(ALL, "forms", broken)
    with pytest.raises(SystemExit, match="failed: forms: no such kernel"):
        run(tmp_path, "forms", "gather")
    names = [json.loads(line).get("name", "") for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [name for name in names if name.startswith("G")] == ["G3 first", "G2 share", "G2 bandwidth"]


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


def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--quick", "--repeats", "1", "--output", str(tmp_path), "--budget-s", "0"]
    with pytest.raises(SystemExit, match="no time was left for all of gather, stalls; run them with --only"):
        main([*arguments, "--only", "gather", "stalls"])
    assert len((tmp_path / "gpu.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    assert run(tmp_path, *ALL) == {"G1", "G2", "G3", "G4", "G5", "G6", "G7", "G9"}
