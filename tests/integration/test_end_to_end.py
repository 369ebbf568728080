"""``python -m jobs.train`` as a person runs it: real Ray, real vLLM, the shipped MLLM, Ctrl-C, resume, report."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid

import pytest

from gem_ray.config import StorageConfig
from gem_ray.evaluation.history import read_metrics
from gem_ray.storage import Storage
from kit.marks import MARK, end_marked, marked
from kit.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(1000)]
STEPS = 300


@pytest.fixture
def mark():
    """Of all that the test starts: what is left of it is ended, also where the test has failed."""
    mark = uuid.uuid4().hex
    yield mark
    end_marked(mark)


def job(folder, mark, log):
    """Start the job; everything it starts inherits the mark in its environment."""
    overrides = [
        "run.uri=runs",
        "data.uri=faces",
        "prepare.num_images=1500",
        "prepare.image_size=32",
        "data.batch_size=32",
        "data.holdout=64",
        f"train.steps={STEPS}",
        "train.checkpoint_every_steps=50",
        "train.log_every_steps=5",
        "train.log_every_s=1",
        "scoring.initial_images=512",
        "scoring.wait_s=300",  # however slow the machine, the MLLM has its say
    ]
    command = [sys.executable, "-m", "jobs.train", *overrides]
    environment = os.environ | {MARK: mark, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)


def assert_nothing_left(mark):
    wait_until(lambda: not marked(mark), lambda: f"left: {marked(mark)}", 30)


def wait_for(condition, process, log, timeout_s=400.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"the job ended early:\n{log.read_text()[-4000:]}"
        assert time.monotonic() < end, f"nothing happened in {timeout_s} s:\n{log.read_text()[-4000:]}"
        time.sleep(0.2)


def test_a_run_is_stopped_by_ctrl_c_resumed_by_the_same_command_and_ends_in_a_report(tmp_path, mark):
    run, log = Storage(f"{tmp_path}/runs/faces", StorageConfig()), tmp_path / "log"
    with log.open("w") as output:
        first = job(tmp_path, mark, output)
        wait_for(lambda: any(line["step"] >= 60 for line in read_metrics(run)), first, log)
        assert len(marked(mark)) > 5, "the mark is not inherited: the test could not see what is left"
        first.send_signal(signal.SIGINT)
        assert first.wait(120) == 130, log.read_text()[-4000:]
    assert "the same command goes on from the last checkpoint" in log.read_text()
    assert_nothing_left(mark)

    with log.open("w") as output:
        assert job(tmp_path, mark, output).wait(400) == 0, log.read_text()[-4000:]
    assert_nothing_left(mark)
    metrics = read_metrics(run)
    starts = [line["step"] for line in metrics if line.get("event") == "started"]
    assert len(starts) == 2
    assert starts[1] >= 50
    assert any(line.get("event") == "graph" for line in metrics)

    summary = json.loads(run.read_bytes("summary.json"))
    assert summary["run"]["step"] == STEPS
    assert summary["scoring"]["missing"] == 0
    assert summary["graph"]["agreement"]["mean_absolute_difference"] < 0.06
    assert summary["graph"]["agreement"]["direction_agreement"] == 1.0
    report = run.read_bytes("report.html").decode()
    assert "bangs" in report
    assert "data:image/png;base64," in report
    assert "http://" not in report.replace("http://www.w3.org", ""), "the report must work offline"
    assert f"{summary['graph']['agreement']['mean_absolute_difference']:.3f}" in log.read_text()
