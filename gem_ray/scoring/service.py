"""Starts and stops the MLLM in Ray Serve, and the rescorer that asks it, for the length of a run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from gem_ray.config import GemConfig, ScoringConfig
from gem_ray.errors import ScorerError
from gem_ray.scoring.deployment import DEPLOYMENT, build_app
from gem_ray.scoring.model_files import model_fingerprint, resolve_model
from gem_ray.scoring.rescorer import start_rescorer, stop_rescorer
from gem_ray.storage import Storage

log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
POLL_S = 0.5
SHOW_EVERY_S = 5.0
OWN_ERROR = f"{ScorerError.__name__}: "


def app_name(run_name: str) -> str:
    """Name of a run's Serve application."""
    return f"scorer-{run_name}"


def start_scorer(config: ScoringConfig, run_name: str) -> str:
    """Deploy the MLLM and wait until it answers; returns the name of the application.

    Raises:
        ScorerError: the model does not exist, vLLM cannot load it, or the cluster has no room for it
    """
    resolve_model(config.model)
    name = app_name(run_name)
    # No proxies: only handles of this cluster reach the model, and nothing listens on a port.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled", http_options={"host": LOOPBACK}, logging_config={"log_level": "WARNING"})
    failures: list[Exception] = []
    deploying = threading.Thread(target=_deploy, args=(config, name, failures), name="serve-run", daemon=True)
    began = shown = time.monotonic()
    deploying.start()
    while deploying.is_alive():
        deploying.join(POLL_S)
        if time.monotonic() - shown >= SHOW_EVERY_S:
            shown = time.monotonic()
            print(f"loading the MLLM {config.model}: {shown - began:.0f} s, {_replica_state(name)}", flush=True)
        if time.monotonic() - began > config.start_timeout_s:
            state = _replica_state(name)
            stop_scorer(run_name)
            raise ScorerError(
                f"scoring.model={config.model!r} does not answer after scoring.start_timeout_s="
                f"{config.start_timeout_s:g} s ({state}); does the cluster have scoring.num_cpus={config.num_cpus:g} "
                f"CPUs and scoring.num_gpus={config.num_gpus:g} GPUs free? See `ray status`"
            )
    if failures:
        cause = _cause(name, failures[0])
        stop_scorer(run_name)
        raise ScorerError(f"the MLLM scoring.model={config.model!r} cannot be served: {cause}") from failures[0]
    print(f"the MLLM {config.model} answers after {time.monotonic() - began:.0f} s", flush=True)
    return name


def stop_scorer(run_name: str) -> None:
    """Delete the run's application; nothing happens where there is none."""
    try:
        serve.delete(app_name(run_name))
    except RayServeException:
        return  # Serve is not running
    except (RayError, RuntimeError, TimeoutError) as error:
        log.warning("the Serve application of run %s could not be deleted: %s", run_name, error)


@contextmanager
def scoring_service(config: GemConfig, run: Storage, data: Storage) -> Iterator[None]:
    """The MLLM and the rescorer, up for the length of the body.

    Raises:
        ScorerError: see ``start_scorer``
    """
    with ExitStack() as services:
        services.callback(stop_scorer, config.run.name)  # first: Ctrl-C may come while the model loads
        app = start_scorer(config.scoring, config.run.name)
        services.callback(stop_rescorer, config.run.name)
        start_rescorer(config, run, data, app, model_fingerprint(config.scoring.model))
        yield


def _deploy(config: ScoringConfig, name: str, failures: list[Exception]) -> None:
    try:
        serve.run(build_app(config), name=name, route_prefix=None)
    except (RuntimeError, RayError, TimeoutError, ValueError) as error:
        failures.append(error)


def _replica_state(name: str) -> str:
    application = serve.status().applications.get(name)
    if application is None:
        return "not deployed yet"
    deployment = application.deployments.get(DEPLOYMENT)
    states = {} if deployment is None else deployment.replica_states
    return ", ".join(f"{count} {getattr(state, 'value', state)}" for state, count in states.items()) or "no replica yet"


def _cause(name: str, error: Exception) -> str:
    """What the replica itself raised, where Serve's message holds it; else the message's last line."""
    application = serve.status().applications.get(name)
    messages = [] if application is None else [deployment.message for deployment in application.deployments.values()]
    lines = [line.strip() for text in (*messages, str(error)) for line in text.splitlines() if line.strip()]
    own = [line.split(OWN_ERROR, 1)[1] for line in lines if OWN_ERROR in line]
    return (own or lines[-1:] or [type(error).__name__])[0]
