"""``python -m jobs.submit`` against a real cluster of one node, behind a token: what a person does and sees."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from gem_ray.checkpoint import latest_step
from gem_ray.config import StorageConfig
from gem_ray.evaluation.history import METRICS
from gem_ray.storage import Storage
from kit.marks import MARK, end_marked, marked
from kit.sockets import free_port
from kit.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
HOST = "127.0.0.2"
ROOT = Path(__file__).parents[2]
STEPS, EVERY = 240, 20
TRAINING = [
    "run.name=sent",
    "scoring.scorer=none",
    "objective.align_weight=0",
    "prepare.num_images=600",
    "prepare.image_size=32",
    "data.batch_size=32",
    "data.holdout=64",
    "train.num_workers=1",
    f"train.checkpoint_every_steps={EVERY}",
    "train.log_every_steps=1",
    "train.log_every_s=1",
]


@dataclass(frozen=True)
class Cluster:
    """A head node of this test's own."""

    address: str
    token: str
    mark: str
    folder: Path

    def send(self, *overrides: str, token: str | None = None, **options: object) -> subprocess.Popen[str]:
        """``jobs.submit`` in a process of its own, with SIGINT as a terminal would give it."""
        environment = os.environ | {"RAY_AUTH_TOKEN": self.token if token is None else token}
        if not environment["RAY_AUTH_TOKEN"]:
            environment["HOME"] = str(self.folder)  # nor a file with one
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            environment.pop(name, None)
        here = [f"submit.address={self.address}", "cluster=local", "run.uri=runs", "data.uri=data"]
        return subprocess.Popen(
            [sys.executable, "-m", "jobs.submit", *here, *overrides],
            cwd=self.folder,
            env=environment | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **options,  # type: ignore[call-overload]
        )

    def run(self, *overrides: str, token: str | None = None) -> tuple[int, str]:
        """(exit status, output) of ``jobs.submit``."""
        process = self.send(*overrides, token=token)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output


def start_head(folder: Path, attempt: int) -> tuple[subprocess.Popen[bytes], Cluster]:
    """`ray start --head` with a token, on ports of its own."""
    mark, token, port = uuid.uuid4().hex, secrets.token_hex(32), free_port(HOST)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        MARK: mark,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_gcs_server_port_wait_time_s": "60",
    }
    for name in ("RAY_ADDRESS", "PYTHONPATH"):
        environment.pop(name, None)  # what the job imports must be what was sent
    options = {
        "node-ip-address": HOST,
        "port": free_port(HOST),
        "dashboard-host": HOST,
        "dashboard-port": port,
        "dashboard-agent-listen-port": free_port(HOST),
        "ray-client-server-port": free_port(HOST),
        "num-cpus": 4,
        "object-store-memory": 200_000_000,
        "temp-dir": f"/tmp/gs-{mark[:6]}",  # sockets lie in it, whose paths must be short
    }
    log = folder / f"head-{attempt}.log"
    with log.open("wb") as output:
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
            + [f"--{name}={value}" for name, value in options.items()],
            env=environment,
            stdout=output,
            stderr=output,
        )
    wait_until(lambda: head.poll() is not None or is_up(log, port), lambda: log.read_text()[-2000:], 240)
    return head, Cluster(f"http://{HOST}:{port}", token, mark, folder)


def end(head: subprocess.Popen[bytes], mark: str) -> None:
    head.terminate()
    end_marked(mark)
    head.wait(timeout=30)
    shutil.rmtree(f"/tmp/gs-{mark[:6]}", ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("submit")
    for attempt in range(3):  # Ray allows its processes half a minute, which a busy machine may not give them
        head, cluster = start_head(folder, attempt)
        if head.poll() is None:
            break
        end(head, cluster.mark)
    assert head.poll() is None, (folder / f"head-{attempt}.log").read_text()[-2000:]
    try:
        yield cluster
    finally:
        end(head, cluster.mark)


def is_up(log: Path, port: int) -> bool:
    if "Ray runtime started" not in log.read_text():
        return False
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def run_folder(cluster: Cluster) -> Storage:
    return Storage(f"{cluster.folder}/runs/sent", StorageConfig())


def drivers(cluster: Cluster) -> list[psutil.Process]:
    """The Python processes that are ``jobs.train`` on the cluster."""
    found = []
    for process in marked(cluster.mark):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line[1:3] == ["-m", "jobs.train"]:
            found.append(process)
    return found


def test_a_job_is_followed_to_its_end_and_its_status_is_ours(cluster):
    status, output = cluster.run(
        "submit.job=prepare", "prepare.num_images=600", "prepare.image_size=32", "prepare.concurrency=1"
    )
    assert status == 0, output
    assert "python -m jobs.prepare" in output
    assert output.rstrip().endswith("succeeded")
    assert json.loads((cluster.folder / "data" / "manifest.json").read_text())["count"] == 600


def test_a_job_that_fails_ends_with_its_own_status_and_cause(cluster):
    status, output = cluster.run("submit.job=evaluate", "run.name=nowhere")
    assert status == 2, output
    assert "DataError: " in output.splitlines()[-1] or "ConfigError: " in output.splitlines()[-1], output
    assert "failed with exit status 2" in output.splitlines()[-1]
    assert f"{cluster.folder}/runs/nowhere" in output.splitlines()[-1]


@pytest.mark.parametrize(("token", "said"), [("f" * 64, "403: the token is not"), ("", "401: no token")])
def test_without_the_right_token_nothing_is_sent_and_the_places_of_the_token_are_named(cluster, token, said):
    status, output = cluster.run("submit.job=prepare", token=token)
    assert status == 2, output
    last = output.strip().splitlines()[-1]
    assert said in last
    assert "RAY_AUTH_TOKEN" in last
    assert ".ray/auth_token" in last
    assert not token or token not in output


def test_a_run_killed_in_its_middle_goes_on_from_its_checkpoint_when_it_is_sent_again(cluster):
    folder = run_folder(cluster)
    status, output = cluster.run(*TRAINING, "train.steps=100000", "submit.detach=true")
    assert status == 0, output
    assert "submit.action=stop" in output
    wait_until(
        lambda: (latest_step(folder) or 0) >= 2 * EVERY,
        lambda: cluster.run(*TRAINING, "submit.action=follow")[1],
        180,
    )

    # while it is under way a second driver is refused, before it could touch the run
    status, output = cluster.run(*TRAINING, "train.steps=100000")
    assert status == 2
    assert "train-sent-" in output
    assert "is under way" in output

    killed = drivers(cluster)
    assert len(killed) == 1
    killed[0].kill()
    status, output = cluster.run(*TRAINING, "submit.action=follow")
    assert status == 137, output
    assert "killed by signal 9" in output.splitlines()[-1]
    reached = latest_step(folder)
    assert reached is not None

    status, output = cluster.run(*TRAINING, f"train.steps={reached + STEPS}")
    assert status == 0, output
    assert f"resuming from step {reached}" in output
    assert latest_step(folder) == reached + STEPS
    lines = [json.loads(line) for line in (folder.local_path / METRICS).read_text().splitlines()]
    starts = [line["step"] for line in lines if line.get("event") == "started"]
    assert starts == [0, reached]
    measured = [line["step"] for line in lines if "event" not in line]
    assert measured == sorted(set(measured)), "steps were done twice and both were kept"


def test_ctrl_c_once_leaves_a_job_running_and_twice_ends_it(cluster):
    folder = run_folder(cluster)
    before = latest_step(folder) or 0
    follower = cluster.send(*TRAINING, "train.steps=100000")
    wait_until(lambda: (latest_step(folder) or 0) > before, "no checkpoint", 180)
    follower.send_signal(signal.SIGINT)
    output, _ = follower.communicate(timeout=60)
    assert follower.returncode == 130, output
    assert "running" in output.splitlines()[-1]
    assert drivers(cluster), "one Ctrl-C has ended the job"

    again = cluster.send(*TRAINING, "submit.action=follow")
    assert again.stdout is not None
    lines = []
    while not any("step " in line for line in lines):
        lines.append(again.stdout.readline())
        assert lines[-1], lines
    again.send_signal(signal.SIGINT)
    time.sleep(1.5)
    again.send_signal(signal.SIGINT)
    output, _ = again.communicate(timeout=180)
    assert again.returncode == 130, output
    assert "was stopped" in output.splitlines()[-1]
    assert "stopped by Ctrl-C; the same command goes on" in output  # the job's own word: it ended in its own time
    wait_until(lambda: not drivers(cluster), "the driver is still there", 30)


def test_stop_from_another_terminal_ends_the_run_cleanly(cluster):
    folder = run_folder(cluster)
    before = latest_step(folder) or 0
    follower = cluster.send(*TRAINING, "train.steps=100000")
    wait_until(lambda: (latest_step(folder) or 0) > before, "no checkpoint", 180)
    status, output = cluster.run(*TRAINING, "submit.action=stop")
    assert status == 0, output
    output, _ = follower.communicate(timeout=120)
    assert follower.returncode == 130, output
    assert "was stopped" in output.splitlines()[-1]
    status, output = cluster.run(*TRAINING, "submit.action=stop")
    assert status == 0
    assert "has ended" in output
