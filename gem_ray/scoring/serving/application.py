"""Deploys the MLLM of a run in Ray Serve, changes it while the run goes on, and takes it away."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.placement import label_selector
from gem_ray.scoring.asking.calibration import grey_request
from gem_ray.scoring.asking.model_files import check_questions, model_fingerprint, resolve_model
from gem_ray.scoring.serving.deployment import ServedScorer, build_app, replica_state, replica_states, vllm_scorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.structured_log import say

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
POLL_S = 0.5
SHOW_EVERY_S = 5.0
END_S = 5.0  # five looks of serve.run
SERVING = (
    *("model", "num_cpus", "num_gpus", "tensor_parallel", "max_model_len", "min_digit_mass", "start_timeout_s"),
    *("min_replicas", "max_replicas", "target_ongoing_requests", "upscale_delay_s", "downscale_delay_s"),
    *("max_ongoing_requests", "max_queued_requests", "deadline_s"),
)
"""Options of ``ScoringConfig`` that what is deployed hangs on; the others belong to who asks it."""
OWN_ERROR = f"{ScorerError.__name__}: "


@dataclasses.dataclass(frozen=True)
class Waiting:
    """Between a start of the MLLM in a thread and who waits for it.

    Args:
        placed: set once Serve has made a replica, which has its resources before others ask for them
        given_up: set by who wants it no longer; the start then ends, and takes away what there is
    """

    placed: threading.Event = dataclasses.field(default_factory=threading.Event)
    given_up: threading.Event = dataclasses.field(default_factory=threading.Event)


def app_name(run_name: str) -> str:
    """Name of a run's Serve application."""
    return f"scorer-{run_name}"


def start_scorer(
    config: ScoringConfig,
    run_name: str,
    build_scorer: Callable[[ScoringConfig], ServedScorer] = vllm_scorer,
    role: str = "",
    waiting: Waiting | None = None,
) -> str:
    """Deploy the MLLM on nodes of ``role`` (empty: any) and wait until it answers; returns the application's name.

    Args:
        waiting: tells who waits for it, and is told by them

    Raises:
        ConfigError: questions that the model cannot be asked
        ScorerError: the model does not exist, vLLM cannot load it, the cluster has no room for it, or it was given up
    """
    check_questions(config)
    name = app_name(run_name)
    # No proxies: only handles of this cluster reach the model, and nothing listens on a port.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled", http_options={"host": LOOPBACK}, logging_config={"log_level": "WARNING"})
    try:
        seconds = _deploy(build_app(config, build_scorer, role=role), config, name, waiting)
    except ScorerError:
        stop_scorer(run_name)
        raise
    say(f"the MLLM {config.model} answers after {seconds:.0f} s")
    return name


def change_mllm(
    config: ScoringConfig,
    run_name: str,
    build_scorer: Callable[[ScoringConfig], ServedScorer] = vllm_scorer,
    role: str = "",
) -> None:
    """Put another MLLM, or other options of it, in the place of the one a run asks at present, while it goes on.

    Where the cluster has room for both, the new one is loaded before the old one is let go. Either way every answer
    names the model it is from, and a caller waits at most. What fails leaves the old one, or brings it back. Without a
    ``role`` it lies on nodes of the same role as the old one. Of the options only those of ``SERVING`` change: the run
    goes on asking as it was started.

    Raises:
        ConfigError: the new one cannot be asked as the run asks
        ScorerError: the run has no MLLM up, or the new one cannot be served
    """
    resolve_model(config.model)
    name = app_name(run_name)
    try:
        former, former_role = asyncio.run(_configuration_and_role(ServeScorer(name, config.deadline_s)))
    except ScorerError as error:
        raise ScorerError(
            f"run {run_name!r} has no MLLM that could be changed: {error}; start the run first"
        ) from error
    config = _asked_as(former, config, run_name)
    _say_changes(former, config)
    surge = _has_room(config, role or former_role)
    if not surge:
        say("no room for both in the cluster: the old one goes first, and questions wait meanwhile")
    try:
        seconds = _deploy(build_app(config, build_scorer, surge, role or former_role), config, name)
    except ScorerError:
        say(f"back to {former.model}")
        # Serve keeps what is left of the former replicas; deployed again they are also replaced when they die.
        _deploy(build_app(former, build_scorer, surge, former_role), former, name)
        raise
    say(f"run {run_name} is answered by {config.model} after {seconds:.0f} s")


def served_fingerprint(config: ScoringConfig, app: str) -> str:
    """Fingerprint of the model behind an application that is up.

    A model of the hub may have another revision on the replicas' nodes than here, or be there only: its answer to one
    question says which it is, and without an answer what is known here stands for it.
    """
    known = model_fingerprint(config.model)
    if Path(resolve_model(config.model)).is_dir():
        return known
    try:
        (answer,) = asyncio.run(ServeScorer(app, config.deadline_s).score([grey_request("male")]))
    except ScorerError as error:
        log.warning("the MLLM did not say which revision of %s it is: %s", config.model, error)
        return known
    return answer.model or known


def stop_scorer(run_name: str) -> None:
    """Delete the run's application; nothing happens where there is none."""
    _delete(app_name(run_name))


def _delete(name: str) -> None:
    try:
        serve.delete(name)
    except RayServeException:
        return  # Serve is not running
    except (RayError, RuntimeError, TimeoutError) as error:
        log.warning("the Serve application %s could not be deleted: %s", name, error)


def _deploy(app: serve.Application, config: ScoringConfig, name: str, waiting: Waiting | None = None) -> float:
    """Deploy, wait and show how far it is; returns the seconds it took."""
    failures: list[Exception] = []
    deploying = threading.Thread(target=_run, args=(app, name, failures), name="serve-run", daemon=True)
    began = shown = time.monotonic()
    deploying.start()
    while deploying.is_alive():
        deploying.join(POLL_S)
        if waiting is not None and waiting.given_up.is_set():
            _delete(name)
            deploying.join(END_S)  # it sees that the application is gone; left alone it would ask a Ray that has ended
            raise ScorerError(f"the MLLM scoring.model={config.model!r} was given up while it was loaded")
        if waiting is not None and not waiting.placed.is_set() and replica_states(name):
            waiting.placed.set()
        if time.monotonic() - shown >= SHOW_EVERY_S:
            shown = time.monotonic()
            say(f"loading the MLLM {config.model}: {shown - began:.0f} s, {replica_state(name)}")
        if time.monotonic() - began > config.start_timeout_s:
            raise ScorerError(
                f"scoring.model={config.model!r} does not answer after scoring.start_timeout_s="
                f"{config.start_timeout_s:g} s ({replica_state(name)}); does the cluster have scoring.num_cpus="
                f"{config.num_cpus:g} CPUs and scoring.num_gpus={config.num_gpus:g} GPUs free? See `ray status`"
            )
    if failures:
        cause = _cause(name, failures[0])
        raise ScorerError(f"the MLLM scoring.model={config.model!r} cannot be served: {cause}") from failures[0]
    return time.monotonic() - began


def _run(app: serve.Application, name: str, failures: list[Exception]) -> None:
    try:
        serve.run(app, name=name, route_prefix=None)
    except (RuntimeError, RayError, TimeoutError, ValueError) as error:
        failures.append(error)


async def _configuration_and_role(scorer: ServeScorer) -> tuple[ScoringConfig, str]:
    return await scorer.configuration(), await scorer.role()


def _has_room(config: ScoringConfig, role: str) -> bool:
    """Whether a replica more fits on one of the nodes it may lie on."""
    wanted = label_selector(role) or {}
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"] and wanted.items() <= node["Labels"].items()}
    free = ray._private.state.available_resources_per_node()
    return any(
        free[node].get("CPU", 0.0) >= config.num_cpus and free[node].get("GPU", 0.0) >= config.num_gpus
        for node in nodes & free.keys()
    )


def _asked_as(former: ScoringConfig, config: ScoringConfig, run_name: str) -> ScoringConfig:
    """What ``config`` serves, with the questions of ``former``."""
    try:
        changed = dataclasses.replace(former, **{name: getattr(config, name) for name in SERVING})
        check_questions(changed)
    except ConfigError as error:
        raise ConfigError(
            f"run {run_name!r} asks with the options it was started with, which do not go with {config.model}: {error}"
            ", and start the run again"
        ) from error
    return changed


def _say_changes(former: ScoringConfig, config: ScoringConfig) -> None:
    for field in dataclasses.fields(config):
        before, after = getattr(former, field.name), getattr(config, field.name)
        if before != after:
            say(f"scoring.{field.name}: {before} -> {after}")


def _cause(name: str, error: Exception) -> str:
    """What the replica itself raised, where Serve's message holds it; else the message's last line."""
    application = serve.status().applications.get(name)
    messages = [] if application is None else [deployment.message for deployment in application.deployments.values()]
    lines = [line.strip() for text in (*messages, str(error)) for line in text.splitlines() if line.strip()]
    own = [line.split(OWN_ERROR, 1)[1] for line in lines if OWN_ERROR in line]
    return (own or lines[-1:] or [type(error).__name__])[0]
