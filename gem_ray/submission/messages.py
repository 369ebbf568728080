"""What is said about a job: how it ended, why, and what to do where the cluster does not let us in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gem_ray.config import GemConfig

# "ray.exceptions.OutOfMemoryError: ..." or "TrainingError: ...", at the start of a line.
ERROR_LINE = re.compile(r"^(?:\S*\s*)?(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Failed)\b: .+")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
SIGNALLED = 128
INTERRUPTED = 130


def exit_status(status: str, driver_exit_code: int | None) -> int:
    """The status to end with: the driver's own, 128 + n where signal n killed it, 130 where it was stopped.

    A job that failed before its driver ran has no status of its own: 1.
    """
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return INTERRUPTED
    if driver_exit_code is None:
        return 1
    return SIGNALLED - driver_exit_code if driver_exit_code < 0 else driver_exit_code or 1


def cause_in(log: str) -> str | None:
    """The last line of a log that names an error, without colours; None where none does."""
    lines = [ESCAPES.sub("", line).strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if ERROR_LINE.match(line)), None)


def ending(submission_id: str, status: str, driver_exit_code: int | None, message: str, log: str) -> str:
    """One sentence on how a job ended, with the cause where it failed.

    Args:
        message: what Ray says about the status
        log: the end of the job's output
    """
    if status == "SUCCEEDED":
        return f"{submission_id} succeeded"
    if status == "STOPPED":
        return f"{submission_id} was stopped; sent again it goes on from its last checkpoint"
    said = message.strip().splitlines() or ["no reason given"]
    if driver_exit_code is None:
        return f"{submission_id} failed before its driver could run: {cause_in(message) or said[0]}"
    if driver_exit_code < 0 or driver_exit_code > SIGNALLED:
        signal = abs(driver_exit_code) if driver_exit_code < 0 else driver_exit_code - SIGNALLED
        return (
            f"{submission_id} was killed by signal {signal} (9 is also what a node out of memory sends); "
            "sent again it goes on from its last checkpoint"
        )
    cause = cause_in(log) or cause_in(message)
    return f"{submission_id} failed with exit status {driver_exit_code}" + (f": {cause}" if cause else "")


def token_places(environ: Mapping[str, str] = os.environ) -> str:
    """Where Ray looks for the cluster's token, in its order, and what is there; never the token itself."""
    path = Path(environ.get("RAY_AUTH_TOKEN_PATH", ""))
    default = Path(environ.get("HOME", "~")).expanduser() / ".ray" / "auth_token"

    def state(file: Path) -> str:
        return "there" if file.is_file() else "not there"

    value = "set" if environ.get("RAY_AUTH_TOKEN") else "not set"
    named = f"{path}, {state(path)}" if environ.get("RAY_AUTH_TOKEN_PATH") else "not set"
    return f"RAY_AUTH_TOKEN ({value}), the file that RAY_AUTH_TOKEN_PATH names ({named}), {default} ({state(default)})"


def unreachable(address: str, reason: str) -> str:
    """Why no cluster answers, and how to reach one."""
    return (
        f"no Ray cluster answers at {address} ({reason}). Its dashboard listens on the head node alone: open a "
        "tunnel with `ray dashboard cluster/aws.yaml`, `ssh -L 8265:127.0.0.1:8265 HEAD` or `kubectl port-forward "
        "svc/CLUSTER-head-svc 8265`, or set submit.address"
    )


def how_to(config: GemConfig, submission_id: str, address: str) -> str:
    """How to follow and stop a job that is under way."""
    again = f"python -m jobs.submit submit.address={address} <the same options>"
    return (
        f"follow: {again} submit.action=follow, or ray job logs --follow --address {address} {submission_id}\n"
        f"stop:   {again} submit.action=stop, or ray job stop --address {address} {submission_id}"
    )
