"""How object storage is reached, and where a run lives."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gem_ray.config.checks import check, one_of

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(kw_only=True)
class StorageConfig:
    """How object storage is reached. Credentials come from the environment or the instance, never from here."""

    endpoint_url: str | None = None
    """S3 endpoint, for servers other than AWS; None uses AWS."""
    region: str | None = None
    """S3 region; None takes it from the environment."""
    anonymous: bool = False
    """Read a public bucket without credentials."""
    attempts: int = 5
    """Tries of one read or write before a storage fault is an error."""
    timeout_s: float = 20.0
    """Seconds of silence after which a request is given up and tried again."""
    patience_s: float = 60.0
    """Seconds after the first try of one read or write in which another may begin."""

    def __post_init__(self) -> None:
        check(self.attempts >= 1, f"storage.attempts={self.attempts} must be at least 1")
        check(self.timeout_s > 0, f"storage.timeout_s={self.timeout_s} must be positive")
        check(self.patience_s >= 0, f"storage.patience_s={self.patience_s} must not be negative")


@dataclass(kw_only=True)
class RunConfig:
    """Where a run lives, and the Ray it uses."""

    name: str = "faces"
    """Name of the run; the same name resumes it."""
    uri: str = "runs"
    """Folder of all runs: a path, ``file://`` or ``s3://``."""
    address: str | None = None
    """Ray cluster to join; None starts a local Ray, or uses RAY_ADDRESS."""
    log_format: str = "text"
    """Lines of ``jobs.train`` and of all processes it starts: ``text`` for a person, ``json`` for a program."""
    grafana_url: str | None = None
    """Grafana's address, for the link at the start of a run; None takes RAY_GRAFANA_HOST."""

    def __post_init__(self) -> None:
        one_of("run.log_format", self.log_format, ("text", "json"))
        check(
            RUN_NAME.fullmatch(self.name) is not None,
            f"run.name={self.name!r} must be 1-64 letters, digits, dots, dashes or underscores",
        )
