"""The head is killed and started again: with Redis behind its control plane the cluster is what it was, without it not.

Training, its workers and the DisGraph's store are on another node and go on meanwhile; what the store has acknowledged
is there afterwards, each push once.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gem_ray.checkpoint import latest_step
from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.actor import GraphStore
from gem_ray.storage import Storage
from kit.sockets import free_port
from kit.waiting import wait_until

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("redis-server") is None, reason="redis-server is not installed: apt-get install redis-server"
    ),
]
WORKER_HOST = "127.0.0.3"
DRIVER = str(Path(__file__).with_name("driver.py"))
RUN, ATTRIBUTES, PUSHES = "headless", ("male", "beard", "bald"), 12  # as in driver.py
AFTER = 20  # pushes that are waited for once the head is back
OUTAGE_S = 5.0


@dataclass
class Redis:
    port: int
    password: str


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A real server on loopback, behind a password that only a file of mode 0600 holds."""
    port = free_port()
    password = secrets.token_hex(24)
    folder = tmp_path / "redis"
    folder.mkdir()
    settings = folder / "redis.conf"
    settings.touch(mode=0o600)
    settings.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir {folder}\n')
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(["redis-server", str(settings)], stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while b"Ready to accept connections" not in (folder / "log").read_bytes():
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.1)
        yield Redis(port, password)
    finally:
        server.terminate()
        server.wait(timeout=30)


def behind(redis: Redis | None) -> tuple[tuple[str, ...], dict[str, str]]:
    """Options and environment of a head whose control plane is kept in Redis, or nowhere."""
    if redis is None:
        return ("--no-monitor",), {}
    address = {"RAY_REDIS_ADDRESS": f"127.0.0.1:{redis.port}"}
    return ("--no-monitor", f"--redis-password={redis.password}"), address


def acknowledged(folder: Path) -> dict[int, tuple[int, float]]:
    """Version and time of every acknowledged push by its number."""
    file = folder / "acknowledged"
    rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return {int(number): (int(version), float(time_s)) for number, version, time_s in rows}


def faults(folder: Path, acknowledged: dict[int, tuple[int, float]]) -> list[str]:
    """What the run's journal says against what was acknowledged; it is read without Ray, the store having ended."""
    store = GraphStore(stored_run(folder), RUN, ATTRIBUTES, GraphConfig(keep_versions=100_000))
    applied: dict[str, list[int]] = {}
    for source in ATTRIBUTES:
        for target in ATTRIBUTES:
            for record in store.history(source, target) if source != target else ():
                applied.setdefault(record.evidence_id, []).append(record.version)
    store.close()
    lost = [f"{number} is lost" for number in acknowledged if f"{number}.json" not in applied]
    twice = [f"{name} was applied as {versions}" for name, versions in applied.items() if len(versions) > 1]
    moved = [
        f"{number} was acknowledged as {version}"
        for number, (version, _) in acknowledged.items()
        if version not in applied.get(f"{number}.json", [version])
    ]
    return lost + twice + moved


def stored_run(folder: Path) -> Storage:
    return Storage(f"{folder}/runs/{RUN}", StorageConfig())


def kill_head(cluster, head) -> float:
    """Kill every process of the head; returns when it was seen to be dead."""
    (control,) = head.processes("gcs_server")
    assert head.kill() >= 3
    assert control.pid not in {process.pid for process in head.processes()}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(tuple(cluster.address.split(":")), timeout=1)
    return time.time()


def test_training_and_store_go_on_while_a_head_with_redis_is_away(new_cluster, redis, capsys):
    cluster = new_cluster()
    options, environment = behind(redis)
    head = cluster.start_head(*options, **environment)
    cluster.start_worker(WORKER_HOST, "--num-cpus=4")
    train = (DRIVER, "train_and_push", cluster.address, WORKER_HOST, str(cluster.folder))
    driver, run = cluster.start_driver(*train, "100000"), stored_run(cluster.folder)
    wait_until(
        lambda: (latest_step(run) or 0) >= 20 and len(acknowledged(cluster.folder)) > 5,
        lambda: driver.log.read_text()[-2000:],
        200,
    )
    died, step_then = kill_head(cluster, head), latest_step(run)
    time.sleep(OUTAGE_S)
    cluster.start_head(*options, **environment)
    back, step_back = time.time(), latest_step(run)

    def pushes_after(moment: float) -> int:
        return sum(time_s > moment for _, time_s in acknowledged(cluster.folder).values())

    assert step_back > step_then, "training stood still while the head was away"
    resumed = wait_until(lambda: pushes_after(back) >= AFTER, lambda: driver.log.read_text()[-2000:], 120)
    away = pushes_after(died) - pushes_after(back)
    assert away > 0, "the store took no push while the head was away"
    wait_until(lambda: latest_step(run) > step_back, lambda: driver.log.read_text()[-2000:], 120)
    (cluster.folder / "enough").touch()
    driver.process.send_signal(signal.SIGINT)
    assert driver.process.wait(timeout=120) == 130, driver.log.read_text()[-4000:]

    known = acknowledged(cluster.folder)
    assert faults(cluster.folder, known) == []
    assert faults(cluster.folder, known | {10_001: (10_001, back)}) == ["10001 is lost"]
    starts = [line["step"] for line in read_metrics(run) if line.get("event") == "started"]
    with capsys.disabled():
        print(
            f"\nhead away {back - died:.1f} s: {away} pushes and {step_back - step_then} steps meanwhile, {len(known)} "
            f"pushes in all, {AFTER} more {resumed:.1f} s after, workers started at {starts}"
        )
    assert starts == [0]

    (cluster.folder / "enough").unlink()
    goal = latest_step(run) + 20
    driver = cluster.start_driver(*train, str(goal))
    assert f"resuming from step {goal - 20}" in driver.output()
    assert latest_step(run) == goal
    assert faults(cluster.folder, acknowledged(cluster.folder)) == []


@pytest.mark.parametrize("kept", [True, False], ids=["with_redis", "without"])
def test_a_new_head_knows_the_store_by_redis_alone(new_cluster, redis, kept):
    cluster = new_cluster()
    options, environment = behind(redis if kept else None)
    head = cluster.start_head(*options, **environment)
    worker = cluster.start_worker(WORKER_HOST, "--num-cpus=1")
    ask = (cluster.address, WORKER_HOST, str(cluster.folder))
    before = cluster.start_driver(DRIVER, "push", *ask).output().splitlines()[-1]
    assert before.endswith(f" {PUSHES}"), before

    kill_head(cluster, head)
    cluster.start_head(*options, **environment)
    if not kept:  # its cluster is gone, and a node of it cannot join another
        worker.kill()
        cluster.start_worker(WORKER_HOST, "--num-cpus=1")
    after = cluster.start_driver(DRIVER, "look", *ask).output().splitlines()[-1]
    if kept:
        assert after == before, "the store is another process, or another version"
    else:
        assert after.startswith(f"no store of a run named {RUN!r} is up"), after
        again = cluster.start_driver(DRIVER, "push", *ask).output().splitlines()[-1]
        assert again.endswith(f" {PUSHES}"), "what is in the run's storage does not hang on the head"
        assert again != before


def test_the_password_of_redis_is_in_no_log(new_cluster, redis):
    cluster = new_cluster()
    options, environment = behind(redis)
    head = cluster.start_head(*options, **environment)
    cluster.start_worker(WORKER_HOST, "--num-cpus=1")
    ask = (cluster.address, WORKER_HOST, str(cluster.folder))
    assert cluster.start_driver(DRIVER, "push", *ask).output()
    files = [path for root in (cluster.temporary, cluster.folder) for path in root.rglob("*") if path.is_file()]
    assert {"gcs_server.out", "raylet.out"} <= {path.name for path in files}
    assert [path for path in files if redis.password.encode() in path.read_bytes()] == []
    # Ray 2.60 hands it to its control process as an argument: whoever may list the head's processes may read it.
    (control,) = head.processes("gcs_server")
    assert [argument for argument in control.cmdline() if redis.password in argument] == [
        f"--redis_password={redis.password}"
    ]
