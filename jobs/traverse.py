"""``python -m jobs.traverse run.name=NAME``: each attribute of an image over its range."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Draw the traversals, print their ranges, then where the picture is."""
    from gem_ray.inference.commands import traverse

    print(traverse(config))


if __name__ == "__main__":
    run_job(
        "jobs.traverse",
        "Move each attribute of an image over its range, with and without what follows through the graph.",
        main,
    )
