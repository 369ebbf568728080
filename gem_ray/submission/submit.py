"""``jobs.submit``: check everything here, then send a job, follow it, or stop it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gem_ray.config import GemConfig
from gem_ray.config.placement import ROLE
from gem_ray.errors import ConfigError
from gem_ray.submission.attempts import attempts, submission_prefix
from gem_ray.submission.entrypoint import command_line, job_overrides, placed
from gem_ray.submission.messages import how_to
from gem_ray.submission.package import check_size, read_runtime_env

DEFAULT_ADDRESS = "http://127.0.0.1:8265"


def submit(config: GemConfig, overrides: Sequence[str], root: Path) -> int:
    """Do what ``submit.action`` says; returns the status to end with, the job's own where it was followed.

    Args:
        overrides: of the command line, those of ``submit.`` among them
        root: folder of the repository, for relative paths of the runtime environment

    Raises:
        ConfigError: something that would fail on the cluster, or a run that is under way; nothing was sent
        ClusterError: no cluster, or one that does not let us in
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it as it is imported, and asks for no token without it
    config = placed(config)
    prefix = submission_prefix(config)
    if config.submit.action != "run":
        return _attend(config, prefix)
    runtime_env = read_runtime_env(root / config.submit.runtime_env, root)

    from gem_ray.submission.cluster import JobServer, package_sizes

    server = JobServer(_address(config))
    sizes = package_sizes(runtime_env["working_dir"], list(runtime_env.get("excludes") or []))
    megabytes = check_size(sizes, config.submit.max_mb, config.submit.runtime_env)
    known = attempts(prefix, server.statuses())
    if known.under_way:
        raise ConfigError(
            f"{known.under_way} is under way on {server.address}; a second driver of one run is refused.\n"
            f"{how_to(config, known.under_way, server.address)}"
        )
    entrypoint = command_line(config.submit.job, job_overrides(config, overrides))
    role = config.placement.coordinators
    server.submit(
        known.next,
        entrypoint=entrypoint,
        runtime_env=runtime_env,
        metadata={"job_name": config.submit.name or known.next.rpartition("-")[0]},
        entrypoint_num_cpus=config.submit.driver_cpus or None,
        entrypoint_label_selector={ROLE: role} if role else None,
    )
    say(f"sent {known.next} to {server.address}: {megabytes:.1f} MB of code in {len(sizes):,} files\n{entrypoint}\n")
    if config.submit.detach:
        say(how_to(config, known.next, server.address) + "\n")
        return 0

    from gem_ray.submission.following import follow

    return follow(server, known.next, config.submit.on_interrupt, say)


def _attend(config: GemConfig, prefix: str) -> int:
    """Follow or stop the attempt that is under way; the newest one is shown where none is."""
    from gem_ray.submission.cluster import JobServer
    from gem_ray.submission.following import Follower, conclude, follow

    server = JobServer(_address(config))
    known = attempts(prefix, server.statuses())
    if known.latest is None:
        raise ConfigError(f"{server.address} knows no job {prefix}-N; were the options the same when it was sent?")
    if config.submit.action == "follow":
        return follow(server, known.under_way or known.latest, config.submit.on_interrupt, say)
    if known.under_way is None:
        say(f"{known.latest} has ended: {server.details(known.latest).status.value}\n")
        return 0
    server.stop(known.under_way)
    follower = Follower(server, known.under_way, say)
    conclude(follower.until_it_ends(), known.under_way, follower.end_of_log, say)
    return 0


def _address(config: GemConfig) -> str:
    return config.submit.address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS


def say(text: str) -> None:
    """To the terminal, as it is and at once."""
    sys.stdout.write(text)
    sys.stdout.flush()
