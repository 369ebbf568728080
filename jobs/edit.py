"""``python -m jobs.edit run.name=NAME edit.changes=[bangs:+1.5]``: attributes moved, and what follows."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Draw the edit, print how far every attribute moved, then where the picture is."""
    from gem_ray.inference.commands import edit

    print(edit(config))


if __name__ == "__main__":
    run_job("jobs.edit", "Move attributes of images, with and without what follows from it through the graph.", main)
