"""The Ray a job runs on: one it joins, or one it starts on this machine and ends again."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError, TrainingError
from gem_ray.structured_log import is_json, say
from gem_ray.train.ray_environment import CLUSTER_ENVIRONMENT, LOCAL_ENVIRONMENT, set_ray_environment

NAMESPACE = "gem_ray"
CONNECT_S = 5.0


@contextmanager
def ray_session(config: GemConfig, num_cpus: int | None = None) -> Iterator[str | None]:
    """Join the cluster of ``run.address`` or RAY_ADDRESS, else run a local Ray for the length of the body.

    A local Ray has token authentication: ``ray.init`` turns it on where RAY_AUTH_MODE is unset (set here it
    would come too late, Ray reads it as it is imported). It gets as many logical CPUs as its parts ask for, so that a
    laptop with two cores runs two workers and a scorer at once. Gives the address of its dashboard, None on a Ray that
    was there before.

    Args:
        num_cpus: logical CPUs of a local Ray; None takes what one run needs
    """
    address = config.run.address or os.environ.get("RAY_ADDRESS")
    set_ray_environment()
    for name, value in (CLUSTER_ENVIRONMENT if address else LOCAL_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield None
        return
    dashboard = None
    if address:
        ray.init(address=address, namespace=NAMESPACE, **logging_options())
    else:
        context = start_ray(
            num_cpus=num_cpus or local_cpus(config),
            logging_level=logging.ERROR,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            **logging_options(),
        )
        close_token_file()
        dashboard = f"http://{context.dashboard_url}"
        say(f"started Ray on this machine, dashboard {dashboard}")
    try:
        yield dashboard
    finally:
        ray.shutdown()


def logging_options() -> dict[str, Any]:
    """What ``ray.init`` gets so that also libraries in its workers log as ``run.log_format`` says."""
    import ray

    return {"logging_config": ray.LoggingConfig(encoding="JSON", log_level="WARNING")} if is_json() else {}


def start_ray(attempts: int = 2, **options: Any) -> Any:
    """Start a Ray on this machine's loopback, and try anew where its control process does not come up.

    That happens, seldom, on a busy machine: the process hangs before it has opened its port, and Ray gives up.

    Args:
        options: of ``ray.init``

    Returns:
        the context that ``ray.init`` gives

    Raises:
        TrainingError: Ray does not start; where its logs are
    """
    import ray

    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "60")
    if not options.get("include_dashboard", True):
        # It writes down its default port all the same, where another Ray's dashboard may answer: Ray Train asks there
        # whether its controller lives, hears of none, and ends the workers.
        options.setdefault("dashboard_port", _free_port("127.0.0.1"))
    for attempt in range(1, attempts + 1):
        before = set(psutil.Process().children(recursive=True))
        with _own_address() as address:
            try:
                # "local" said outright: RAY_ADDRESS now names a Ray that is yet to be started.
                return ray.init(address="local", namespace=NAMESPACE, _node_ip_address=address.split(":")[0], **options)
            except RuntimeError as error:
                ray.shutdown()
                for process in set(psutil.Process().children(recursive=True)) - before:
                    process.kill()
                cause = error
        say(f"Ray did not start (attempt {attempt} of {attempts}): {cause}")
    raise TrainingError(
        f"Ray did not start on this machine in {attempts} attempts: {cause}; its logs are in "
        "/tmp/ray/session_latest/logs, gcs_server.out first"
    ) from cause


@contextmanager
def _own_address() -> Iterator[str]:
    """The address of a Ray that is started in the body, in the environment of all its processes.

    Ray Train looks for the state of its controller at RAY_ADDRESS, or else in the newest cluster that ``ray start`` has
    left on this machine. Not finding it there it takes its own controller for dead, and ends the workers.
    """
    # Any other loopback address would do; 127.0.0.1 itself is rewritten to a public one by Ray.
    host = "127.0.0.2"
    port = _free_port(host)
    os.environ.update({"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"{host}:{port}"})
    try:
        yield f"{host}:{port}"
    finally:
        del os.environ["RAY_GCS_SERVER_PORT"], os.environ["RAY_ADDRESS"]


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running_ray(config: GemConfig) -> Iterator[None]:
    """Join a Ray that is up, for the length of the body; none is started.

    Without ``run.address`` or RAY_ADDRESS it is the one that was last started on this machine.

    Raises:
        ConfigError: there is none
    """
    set_ray_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = config.run.address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "/" not in host:
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()  # Ray itself tries for five minutes
        ray.init(address=address, namespace=NAMESPACE, logging_level=logging.ERROR, log_to_driver=False)
    except OSError as error:
        raise ConfigError(
            f"no Ray is up at {address!r}: start the run first, or set run.address to its cluster ({error})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def local_cpus(config: GemConfig) -> int:
    """Logical CPUs of a local Ray: workers, scorers, and as many again for Ray Data as prepare uses.

    One scorer more than there may be: a change of the MLLM loads the new one before it lets the old one go.
    """
    scoring = (config.scoring.max_replicas + 1) * config.scoring.num_cpus if config.scoring.scorer == "vllm" else 0
    wanted = config.train.num_workers * config.train.cpus_per_worker + scoring + config.prepare.concurrency
    return max(os.cpu_count() or 1, math.ceil(wanted) + 1)


def close_token_file() -> None:
    """Ray creates its token file readable by all; only its owner may read it."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", Path.home() / ".ray" / "auth_token"))
    if path.exists():
        path.chmod(0o600)
