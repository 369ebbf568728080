"""A Ray cluster of several nodes on one machine, each a raylet of its own address, killed and added for real."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kit.marks import MARK, end_marked, marked
from kit.sockets import free_port
from kit.waiting import wait_until

ROOT = Path(__file__).parents[3]
HEAD, NODES = "127.0.0.2", ("127.0.0.3", "127.0.0.4")

DRAIN = """
import sys, time
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
address, host, left_s = sys.argv[1:]
client = GcsClient(address=address)
nodes = client.get_all_node_info(timeout=30).values()
nodes = [node for node in nodes if node.node_manager_address == host and node.state == 0]  # alive
reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
deadline = int(1000 * (time.time() + float(left_s)))
accepted, why = client.drain_node(nodes[0].node_id.hex(), reason, "the spot market", deadline)
assert accepted, why
"""


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@dataclass
class Cluster:
    """Nodes of one CPU each: a head, which trains too, and what is added to it."""

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    marks: dict[str, str] = field(default_factory=dict)  # by host
    starters: list[subprocess.Popen] = field(default_factory=list)
    address: str = ""
    temporary: str = ""

    def environment(self, mark: str) -> dict[str, str]:
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            MARK: mark,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_gcs_server_port_wait_time_s": "60",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
        environment.pop("RAY_ADDRESS", None)
        return environment

    def add(self, host: str, role: str = "train") -> None:
        """A node, tried anew where a busy machine gives Ray's processes less time than they need."""
        for attempt in range(3):
            log = self.folder / f"{host}-{attempt}-{time.time_ns()}.log"
            if self._starts(host, role, log):
                return
            end_marked(self.marks.pop(host))
        raise AssertionError(log.read_text()[-2000:])

    def _starts(self, host: str, role: str, log: Path) -> bool:
        mark = self.marks[host] = uuid.uuid4().hex
        options: dict[str, object] = {
            "node-ip-address": host,
            "dashboard-agent-listen-port": free_port(host),
            "num-cpus": 1,
            "labels": f"gem-ray/role={role}",
            "object-store-memory": 150_000_000,
        }
        if host == HEAD:
            port = free_port(HEAD)
            self.address = f"{HEAD}:{port}"
            self.temporary = f"/tmp/ge-{mark[:6]}"  # sockets lie in it, whose paths must be short
            options |= {"port": port, "include-dashboard": "false", "temp-dir": self.temporary}
            options |= {"ray-client-server-port": free_port(HEAD), "dashboard-host": HEAD}
            options |= {"dashboard-port": free_port(HEAD)}
        else:
            options["address"] = self.address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--head"] * (host == HEAD) + [f"--{name}={value}" for name, value in options.items()]
        with log.open("wb") as output:
            starter = subprocess.Popen(command, env=self.environment(mark), stdout=output, stderr=output)
        self.starters.append(starter)
        wait_until(lambda: starter.poll() is not None or "Ray runtime started" in log.read_text(), log.read_text, 120)
        return starter.poll() is None

    def lose(self, host: str) -> None:
        end_marked(self.marks.pop(host))

    def drain(self, host: str, left_s: float = 60.0) -> None:
        """The notice that a provider's daemon gives Ray."""
        arguments = [self.address, host, str(left_s)]
        subprocess.run([sys.executable, "-c", DRAIN, *arguments], env=self.environment(""), check=True, timeout=60)

    def keep_only(self, *hosts: str) -> None:
        """Bring the nodes beside the head to those."""
        for host in set(self.marks) - {HEAD, *hosts}:
            self.lose(host)
        for host in set(hosts) - set(self.marks):
            self.add(host)

    def hosts_of(self, actor: str) -> set[str]:
        """Hosts on which actors of a class live."""
        return {
            host
            for host, mark in self.marks.items()
            if any(f"ray::{actor}" in title(process) for process in marked(mark))
        }

    def start_driver(self, program: Path, argument: str, log: Path) -> tuple[subprocess.Popen, str]:
        """A Python program that may join, with SIGINT as a terminal gives it; and the mark of its processes."""
        mark = uuid.uuid4().hex
        with log.open("wb") as output:
            driver = subprocess.Popen(
                [sys.executable, str(program), argument],
                env=self.environment(mark),
                stdout=output,
                stderr=output,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        return driver, mark

    def end(self) -> None:
        for mark in self.marks.values():
            end_marked(mark)
        for starter in self.starters:
            starter.wait(timeout=30)
        shutil.rmtree(self.temporary, ignore_errors=True)
