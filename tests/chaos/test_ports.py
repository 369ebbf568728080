"""Every port that a launched local Ray listens on, asked without a token, with a wrong one and with the right one.

With Serve and a run's store up. What could run code answers nobody without the token, over HTTP and over gRPC; the
control is the same question with it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray
from ray import serve

from gem_ray.config import DataConfig, GemConfig, GraphConfig, RunConfig, StorageConfig
from gem_ray.graph.store import start_store
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session
from kit.sockets import Listener, listeners
from kit.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ATTRIBUTES = ("male", "beard", "bald")
PATHS = (
    ("GET", "/api/jobs/"),
    ("GET", "/api/version"),
    ("GET", "/api/serve/applications/"),
    ("GET", "/nodes?view=summary"),
    ("GET", "/logical/actors"),
    ("GET", "/api/v0/actors"),
    ("GET", "/api/job_agent/jobs/"),
    ("GET", "/api/ray/version"),
    ("POST", "/api/jobs/"),
    ("POST", "/api/job_agent/jobs/"),
    ("PUT", "/api/serve/applications/"),
    ("POST", "/get_or_create_runtime_env"),
    ("POST", "/get_runtime_envs_info"),
)
REFUSED = {401, 403, 404, 405}
AGENTS_JOBS = "/api/job_agent/jobs/"
METRIC = re.compile(r"^# TYPE (ray|autoscaler|python|process)_\w+ (counter|gauge|histogram)$", re.MULTILINE)
NO_ENTRY = "InvalidAuthToken: Authentication token is missing or incorrect"


@pytest.fixture(scope="module")
def mark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a submitted job would create."""
    return tmp_path_factory.mktemp("ports") / "mark"


@dataclass(frozen=True)
class Up:
    """A Ray: the address of its dashboard, and everything it listens on."""

    dashboard: str
    listeners: list[Listener]


@pytest.fixture(scope="module")
def up(mark: Path) -> Iterator[Up]:
    """All listening sockets of a Ray as ``jobs.train`` starts it, with Serve and a store."""
    config = GemConfig(run=RunConfig(uri=str(mark.parent / "runs")), data=DataConfig(uri=str(mark.parent)))
    before = {listener.port for listener in listeners()}
    with ray_session(config) as dashboard:
        assert dashboard is not None
        serve.start(proxy_location="Disabled", http_options={"host": "127.0.0.1"})
        store = start_store(Storage(str(mark.parent / "run"), StorageConfig()), "ports", ATTRIBUTES, GraphConfig())
        yield Up(dashboard, [listener for listener in listeners() if listener.port not in before])
        store.stop()
        serve.shutdown()


def right_token() -> str:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text().strip()


def ask(
    listener: Listener, method: str, path: str, token: str | None, mark: Path, timeout_s: float = 5.0
) -> int | None:
    """Status of a request; None where the port does not speak HTTP."""
    host = "127.0.0.1" if listener.address in {"0.0.0.0", "::", "::1"} else listener.address
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers |= {"Authorization": f"Bearer {token}"}
    sent = {"applications": []} if "serve" in path else {"entrypoint": f"touch {mark}"}
    connection = http.client.HTTPConnection(host, listener.port, timeout=timeout_s)
    try:
        connection.request(method, path, json.dumps(sent) if method != "GET" else None, headers)
        return connection.getresponse().status
    except (http.client.HTTPException, OSError):
        return None
    finally:
        connection.close()


def test_no_port_does_anything_for_who_has_no_token_or_a_wrong_one(up, mark):
    assert len(up.listeners) >= 5, f"these are not all ports of a Ray: {up}"
    token = right_token()
    opened: list[tuple] = []
    spoken = [listener for listener in up.listeners if ask(listener, "GET", "/", None, mark) is not None]
    for listener in spoken:
        for method, path in PATHS:
            for said, given in (("none", None), ("wrong", "0" * len(token)), ("empty", "")):
                status = ask(listener, method, path, given, mark)
                if status is not None and status not in REFUSED:
                    opened.append((listener.address, listener.port, listener.name[:60], method, path, said, status))
    for listener in sorted(up.listeners):
        print(listener.address, listener.port, "HTTP" if listener in spoken else "-", listener.name[:70])
    # Prometheus' exporters answer a GET of any path alike, and with numbers only.
    exporters = {port for _, port, *_ in opened if is_metrics(port)}
    assert [one for one in opened if one[1] not in exporters or one[3] != "GET"] == []
    assert spoken, "no port spoke HTTP: nothing was asked"
    assert not mark.exists()


def is_metrics(port: int) -> bool:
    """Whether a port gives Prometheus' text on any path, and nothing else."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (http.client.HTTPException, OSError):
        return False
    finally:
        connection.close()
    assert right_token() not in body
    if answer.status != 200 or not METRIC.search(body):
        return False
    lines = [line for line in body.splitlines() if line]
    return all(line.startswith("#") or line.rsplit(" ", 1)[-1][0] in "0123456789-N+" for line in lines)


def test_the_right_token_opens_the_dashboard(up, mark):
    token = right_token()
    good = [
        (listener.port, path)
        for listener in up.listeners
        if ask(listener, "GET", "/", None, mark) is not None
        for method, path in PATHS
        if method == "GET" and (ask(listener, method, path, token, mark) or 999) < 300
    ]
    assert {"/api/jobs/", "/api/version"} <= {path for _, path in good}


def test_an_agent_runs_a_job_for_the_right_token_and_for_no_other(up, mark):
    token, ran = right_token(), mark.with_name("ran")
    statuses = {one: ask(one, "POST", AGENTS_JOBS, token, ran, timeout_s=60) for one in up.listeners if is_agent(one)}
    agents = [listener for listener, status in statuses.items() if status == 200]
    assert agents, statuses
    wait_until(ran.exists, "the agent took the job and did not run it", 120)
    for listener in agents:
        refused = {given: ask(listener, "POST", AGENTS_JOBS, given, mark) for given in (None, "", "0" * len(token))}
        assert set(refused.values()) <= {401, 403}, (listener, refused)
    assert not mark.exists()


def is_agent(listener: Listener) -> bool:
    return "DashboardAgent" in listener.name


def test_the_dashboard_is_on_loopback_alone(up):
    (port,) = {int(up.dashboard.rpartition(":")[2])}
    assert {one.address for one in up.listeners if one.port == port} == {"127.0.0.1"}


def connect(
    address: str, mode: str, token: str | None, folder: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Another process that joins the cluster over gRPC and runs a task."""
    program = f"""
        import ray
        ray.init(address={address!r}, namespace="gem_ray", logging_level="ERROR", log_to_driver=False)
        print("ran", ray.get(ray.remote(num_cpus=0)(lambda: 41 + 1).remote(), timeout=60))
    """
    empty = {"HOME": str(folder), "RAY_AUTH_MODE": mode}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH")} | empty
    if token is not None:
        environment["RAY_AUTH_TOKEN"] = token
    command = [sys.executable, "-c", textwrap.dedent(program)]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as asking:  # Ray goes on for minutes; what it wrote comes as bytes
        said = [(part or b"").decode(errors="replace") for part in (asking.stdout, asking.stderr)]
        return subprocess.CompletedProcess(command, -1, *said)


def test_nobody_joins_over_grpc_without_the_token_and_with_it_a_task_runs(up, tmp_path):
    address, token = ray.get_runtime_context().gcs_address, right_token()
    began = time.monotonic()
    taken = connect(address, "token", token, tmp_path, 200)
    assert taken.stdout.strip() == "ran 42", taken.stderr[-2000:]
    enough_s = max(15.0, 2 * (time.monotonic() - began))
    for mode, given in (("disabled", None), ("token", "0" * len(token))):
        refused = connect(address, mode, given, tmp_path, enough_s)
        assert refused.returncode != 0, f"{mode}: {refused.stdout}"
        assert "ran" not in refused.stdout
        assert NO_ENTRY in refused.stderr, f"{mode}: {refused.stderr[-2000:]}"
        assert token not in refused.stdout + refused.stderr


def test_the_token_is_in_no_command_line(up):
    token = right_token()
    titles = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            titles.append(" ".join(process.cmdline()))
    assert len(titles) > 5
    assert not [title for title in titles if token in title]
