"""Sending a job to a cluster and following it."""

from __future__ import annotations

from dataclasses import dataclass

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class SubmitConfig:
    """``jobs.submit``: send a job to the Ray cluster at ``address``, follow its log, end with its exit status."""

    job: str = "train"
    """Which job: ``train``, ``prepare``, ``table`` or ``evaluate``, as in ``python -m jobs.JOB``."""
    action: str = "run"
    """``run`` sends the job; ``follow`` and ``stop`` are for the one of the same run that is under way."""
    address: str | None = None
    """Address of the cluster's dashboard, http:// or https://; None takes RAY_API_SERVER_ADDRESS, else
    http://127.0.0.1:8265, the end of a tunnel."""
    name: str = ""
    """Name that the dashboard shows; empty takes the job's and the run's."""
    detach: bool = False
    """Return once the job is accepted, and print how to follow and to stop it."""
    on_interrupt: str = "ask"
    """What Ctrl-C does while the log is followed: ``ask`` leaves the job running unless Ctrl-C comes again within five
    seconds, ``stop`` ends the job, ``leave`` leaves it running."""
    runtime_env: str = "cluster/runtime_env.yaml"
    """File of the job's runtime environment; a relative path is taken from the repository."""
    storage: str = ""
    """Where relative ``data.uri``, ``run.uri`` and ``table.output`` lie, as in s3://bucket/prefix; or empty."""
    local_paths: bool = False
    """Take paths of a file system as ones that every node of the cluster has (a shared mount, or a cluster of this
    machine alone); otherwise they are refused, since a node would look on its own disk."""
    driver_cpus: float = 0.0
    """Logical CPUs that the job's driver reserves, on a node of role ``placement.coordinators``; without either it runs
    on the head node."""
    max_mb: float = 24.0
    """Largest package of code, in MB (10^6 bytes); a larger one holds data that does not belong in it."""

    def __post_init__(self) -> None:
        one_of("submit.job", self.job, ("train", "prepare", "table", "evaluate"))
        one_of("submit.action", self.action, ("run", "follow", "stop"))
        one_of("submit.on_interrupt", self.on_interrupt, ("ask", "stop", "leave"))
        check(
            self.address is None or self.address.startswith(("http://", "https://")),
            f"submit.address={self.address!r} must be the http:// or https:// address of the cluster's dashboard",
        )
        check(
            self.storage == "" or "://" in self.storage,
            f"submit.storage={self.storage!r} must be a storage address such as s3://bucket/prefix",
        )
        check(self.driver_cpus >= 0, f"submit.driver_cpus={self.driver_cpus} must not be negative")
        check(self.max_mb > 0, f"submit.max_mb={self.max_mb} must be positive")
