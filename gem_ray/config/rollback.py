"""Going back to an earlier version of a DisGraph."""

from __future__ import annotations

from dataclasses import dataclass

from gem_ray.config.checks import check


@dataclass(kw_only=True)
class RollbackConfig:
    """``jobs.rollback``: list the versions of a run's DisGraph, or make a new one that is as an earlier one was."""

    version: int | None = None
    """The version to go back to; None changes nothing and lists the kept ones."""

    def __post_init__(self) -> None:
        check(self.version is None or self.version >= 0, f"rollback.version={self.version} must not be negative")
