"""How other processes reach a run's rescorer. Light to import: every worker does, and none of them asks the MLLM."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from gem_ray.errors import ScorerError
from gem_ray.messages.rescorer import RescorerStatus

log = logging.getLogger(__name__)
NAMESPACE = "gem_ray"
STOP_S = 10.0


def rescorer_status(run_name: str, deadline_s: float) -> RescorerStatus | None:
    """How far the run's rescorer is; None where there is none, or where it is being restarted.

    Raises:
        ScorerError: its loop has ended by an error
    """
    actor = _find(run_name)
    if actor is None:
        return None
    try:
        status: RescorerStatus = ray.get(actor.status.remote(), timeout=deadline_s)
        return status
    except RayTaskError as error:
        if isinstance(error.cause, ScorerError):
            raise error.cause from None
        raise
    except (GetTimeoutError, RayActorError):
        return None


def stop_rescorer(run_name: str) -> RescorerStatus | None:
    """End the actor for good; returns its last status, None where there is none or it does not answer."""
    actor = _find(run_name)
    if actor is None:
        return None
    status: RescorerStatus | None = None
    try:
        status = ray.get(actor.stop.remote(), timeout=STOP_S)
    except (GetTimeoutError, RayActorError, RayTaskError) as error:
        log.warning("the rescorer of run %s is ended without its last status: %s", run_name, error)
    ray.kill(actor, no_restart=True)
    end = time.monotonic() + STOP_S
    while _find(run_name) is not None and time.monotonic() < end:
        time.sleep(0.05)
    return status


def _find(run_name: str) -> Any:
    try:
        return ray.get_actor(actor_name(run_name), namespace=NAMESPACE)
    except ValueError:
        return None


def actor_name(run_name: str) -> str:
    """Name of a run's rescorer among Ray's actors."""
    return f"rescorer-{run_name}"
