"""Clusters of several nodes on one machine: each node is a ``ray start`` of its own, ended by its processes' ids.

A node has an address, ports and a mark in its environment that all its processes inherit, so that "the head has died"
is a question about processes that can be answered.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from kit.marks import MARK, end_marked, marked
from kit.sockets import free_port
from kit.waiting import wait_until

ROOT = Path(__file__).parents[2]
HEAD_HOST = "127.0.0.2"
START_S, START_ATTEMPTS = 180.0, 6  # a raylet ends where its agents are not up in 15 s, which a busy machine may need
PATIENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",  # Ray's own 15 would leave training nothing of a machine that others use too
    "RAY_gcs_server_port_wait_time_s": "60",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # how long nodes wait for a head, as KubeRay sets it; else 60
}


def answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


@dataclass
class Node:
    """One ``ray start --block`` and all below it."""

    process: subprocess.Popen[bytes]
    mark: str
    log: Path
    _had_raylet: bool = False

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Its live processes whose executable has this name; all of them without one."""
        return [process for process in marked(self.mark) if not name or process.name() == name]

    def is_up(self) -> bool:
        return self.process.poll() is None and "Ray runtime started" in self.log.read_text()

    def has_started_or_failed(self) -> bool:
        """Also a raylet that is gone again is a failure; what has started it takes half a minute to say so."""
        living = bool(self.processes("raylet"))
        failed = self._had_raylet and not living
        self._had_raylet = living
        return self.is_up() or self.process.poll() is not None or failed

    def kill(self) -> int:
        """SIGKILL to every process of it, as if its machine were gone; returns how many there were."""
        killed = end_marked(self.mark)
        self.process.wait(timeout=30)
        return killed


@dataclass
class Driver:
    """A process that uses the cluster, and what it writes."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self, timeout_s: float = 240.0) -> str:
        """All it wrote, once it has ended well."""
        status = self.process.wait(timeout=timeout_s)
        assert status == 0, self.log.read_text()[-4000:]
        return self.log.read_text()


@dataclass
class Cluster:
    """Nodes that know each other by the head's address and one token."""

    folder: Path
    environment: dict[str, str]
    port: int
    nodes: list[Node] = field(default_factory=list)
    drivers: list[Driver] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{HEAD_HOST}:{self.port}"

    @property
    def temporary(self) -> Path:
        return Path(self.environment["RAY_TMPDIR"])

    def start_head(self, *arguments: str, **environment: str) -> Node:
        """A head without work; started again on the same port it is the same cluster, as far as its storage goes."""
        options = (
            f"--head --port={self.port} --node-ip-address={HEAD_HOST} --num-cpus=0 --include-dashboard=false "
            f"--ray-client-server-port={free_port(HEAD_HOST)} --temp-dir={self.temporary}/head"
        ).split()
        # Where a head has been before Ray takes its workers' processes for that head's; a new machine knows of none.
        (self.temporary / "head" / "ray_current_cluster").unlink(missing_ok=True)
        return self._start([*options, *arguments], environment)

    def start_worker(self, host: str, *arguments: str, **environment: str) -> Node:
        """A node of its own address that joins."""
        options = [f"--address={self.address}", f"--node-ip-address={host}", f"--temp-dir={self.temporary}/{host}"]
        return self._start([*options, *arguments], environment)

    def start_driver(self, *arguments: str) -> Driver:
        """A Python process that may join the cluster, with SIGINT as a terminal gives it."""
        log = self.folder / f"driver-{len(self.drivers)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-u", *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self.drivers.append(Driver(process, log))
        return self.drivers[-1]

    def end(self) -> None:
        for driver in self.drivers:
            driver.process.kill()
            driver.process.wait(timeout=30)
        for node in self.nodes:
            node.kill()

    def _start(self, options: list[str], environment: dict[str, str]) -> Node:
        for _ in range(START_ATTEMPTS):
            node = self._try_start(options, environment)
            wait_until(node.has_started_or_failed, lambda: f"no node: {node.log.read_text()[-2000:]}", START_S)  # noqa: B023
            if node.is_up():
                return node
            node.kill()
        raise AssertionError(f"no node in {START_ATTEMPTS} attempts: {node.log.read_text()[-2000:]}")

    def _try_start(self, options: list[str], environment: dict[str, str]) -> Node:
        mark = uuid.uuid4().hex
        log = self.folder / f"node-{len(self.nodes)}.log"
        common = ["--block", "--disable-usage-stats", "--include-log-monitor=false", "--object-store-memory=200000000"]
        ports = [f"--dashboard-agent-listen-port={free_port(HEAD_HOST)}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *ports, *options],
                cwd=self.folder,
                env=self.environment | environment | {MARK: mark},
                stdout=output,
                stderr=output,
            )
        self.nodes.append(Node(process, mark, log))
        return self.nodes[-1]


@pytest.fixture
def new_cluster(tmp_path: Path) -> Iterator[Callable[[], Cluster]]:
    """Makes clusters, and ends their processes with the test."""
    made: list[Cluster] = []
    temporary = Path("/tmp", f"gc-{uuid.uuid4().hex[:6]}")  # sockets lie in it, whose paths must be short

    def make() -> Cluster:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        environment = os.environ | PATIENT | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(temporary / str(len(made))),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }  # fmt: skip
        environment.pop("RAY_ADDRESS", None)
        made.append(Cluster(folder, environment, free_port(HEAD_HOST)))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()
    shutil.rmtree(temporary, ignore_errors=True)
