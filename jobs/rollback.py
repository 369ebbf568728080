"""``python -m jobs.rollback run.name=NAME rollback.version=V``: a run's DisGraph as it was in an earlier version."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job

PURPOSE = (
    "Make a new version of a run's DisGraph that is as rollback.version was, also while the run is up; "
    "without rollback.version, list the versions that are kept."
)


def main(config: GemConfig) -> None:
    """List the kept versions, or go back to one of them."""
    from rich.console import Console

    from gem_ray.absolute_paths import with_absolute_paths
    from gem_ray.evaluation.version_table import version_table
    from gem_ray.train.trainer import run_storage

    config = with_absolute_paths(config)
    run = run_storage(config)
    if config.rollback.version is not None:
        from gem_ray.train.rollback import roll_back

        reply = roll_back(config, run, config.rollback.version)
        print(f"version {reply.version} of the DisGraph of {run.uri} is as version {config.rollback.version} was")
        return
    Console().print(version_table(run.child("graph")))
    print("to go back: the same command with rollback.version=VERSION")


if __name__ == "__main__":
    run_job("jobs.rollback", PURPOSE, main)
