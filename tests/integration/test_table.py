"""``python -m jobs.table`` as a person runs it: killed in mid-run, run again, and what it leaves."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gem_ray.config import StorageConfig
from gem_ray.evaluation.history import read_metrics
from gem_ray.storage import Storage
from kit.marks import MARK, end_marked, marked
from kit.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 400


@pytest.fixture
def mark() -> Iterator[str]:
    """Of all that a test starts: what is left of it is ended, also where the test has failed."""
    mark = uuid.uuid4().hex
    yield mark
    end_marked(mark)


def start(folder: Path, log: Path, mark: str, *further: str) -> subprocess.Popen[bytes]:
    overrides = [
        "table.methods=[vae,gem_labels]",
        "table.experiments=[faces]",
        "table.seeds=[0]",
        "table.reference=vae",
        "prepare.num_images=600",
        "prepare.image_size=32",
        "data.batch_size=32",
        "data.holdout=64",
        f"train.steps={STEPS}",
        "train.checkpoint_every_steps=50",
        "train.log_every_steps=10",
        "evaluate.num_train=200",
        "evaluate.num_test=100",
        "evaluate.num_images=0",
        "evaluate.metrics=[mig,tad]",
        *further,
    ]
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.table", *overrides],
            cwd=folder,
            env=os.environ | {MARK: mark, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def runs(folder: Path) -> dict[str, Storage]:
    """Run folders of the cells by their method."""
    found = sorted((folder / "runs" / "table" / "runs").glob("faces-*"))
    return {path.name.split("-")[1]: Storage(str(path), StorageConfig()) for path in found}


def last_step(run: Storage) -> int:
    return max((line["step"] for line in read_metrics(run) if "event" not in line), default=-1)


def wait_until_training(folder: Path, process: subprocess.Popen[bytes], log: Path, step: int) -> None:
    end = time.monotonic() + 300
    while not (found := runs(folder)) or max(map(last_step, found.values())) < step:
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.2)


def test_a_killed_table_goes_on_from_the_checkpoints_of_its_cells_and_does_not_redo_what_is_finished(
    tmp_path: Path, mark: str
):
    log = tmp_path / "log"
    first = start(tmp_path, log, mark)
    wait_until_training(tmp_path, first, log, 120)
    first.kill()
    first.wait()
    wait_until(lambda: not marked(mark), lambda: f"its Ray does not end itself: {marked(mark)}", 60)
    begun = {name: last_step(run) for name, run in runs(tmp_path).items()}
    assert max(begun.values()) < STEPS - 1, "the kill came too late to show anything"

    assert start(tmp_path, log, mark).wait(600) == 0, log.read_text()[-4000:]
    table = tmp_path / "runs" / "table"
    cells = runs(tmp_path)
    assert set(cells) == {"vae", "gem_labels"}
    resumed = [line["step"] for run in cells.values() for line in read_metrics(run) if line.get("event") == "started"]
    assert max(resumed) >= 100, "no cell went on from its checkpoint"
    assert all(last_step(run) == STEPS - 1 for run in cells.values())

    rows = list(csv.DictReader((table / "cells.csv").open()))
    assert [row["method"] for row in rows] == ["vae", "gem_labels"]
    for row in rows:
        evaluation = json.loads(cells[row["method"]].read_bytes("evaluation.json"))
        assert float(row["before.mig"]) == evaluation["before"]["mig"]
        assert float(row["images_per_s"]) > 0
        assert "core" in row["hardware"]
    page = (table / "table.md").read_text()
    assert "2 runs: 2 methods, 1 data set, seeds 0." in page
    assert "600 images of 32 x 32 from faces, 64 held out; 400 steps of 32 images" in page
    assert (table / "figures" / "faces.png").stat().st_size > 10_000
    assert (table / "figures" / "faces_differences.png").stat().st_size > 5_000

    # All is finished: no Ray is started, nothing is trained or evaluated again.
    before = {name: run.read_bytes("cell.json") for name, run in cells.items()}
    stamps = {name: (run.local_path / "evaluation.json").stat().st_mtime_ns for name, run in cells.items()}
    assert start(tmp_path, log, mark).wait(200) == 0, log.read_text()[-4000:]
    assert "2 cells, 2 of them finished" in log.read_text()
    assert "started Ray" not in log.read_text()
    assert {name: run.read_bytes("cell.json") for name, run in cells.items()} == before
    assert {name: (run.local_path / "evaluation.json").stat().st_mtime_ns for name, run in cells.items()} == stamps


def test_ctrl_c_ends_all_cells_and_one_failing_cell_stops_no_other(tmp_path: Path, mark: str):
    log = tmp_path / "log"
    job = start(tmp_path, log, mark, "train.steps=100000")
    wait_until_training(tmp_path, job, log, 20)
    job.send_signal(signal.SIGINT)
    assert job.wait(120) == 130, log.read_text()[-4000:]
    assert "the same command goes on" in log.read_text()

    # pendulum knows none of these attributes, so the labels of the data cannot stand in for scores of them.
    further = ["table.experiments=[pendulum]", "model.attributes=[a,b]", "train.steps=20", "table.output=runs/other"]
    job = start(tmp_path, log, mark, *further)
    assert job.wait(300) == 2, log.read_text()[-4000:]
    text = log.read_text()
    assert "1 of 2 cells failed" in text
    assert "pendulum gem_labels seed 0: ConfigError: scoring.scorer=labels needs labels of every node" in text
    page = (tmp_path / "runs" / "other" / "table.md").read_text()
    assert "1 run: " in page
    assert "* pendulum gem_labels seed 0: ConfigError" in page
