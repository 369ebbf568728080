"""``python -m jobs.reconstruct run.name=NAME``: images, and what a trained model makes of them."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Draw originals above reconstructions, print how near they are, then where the picture is."""
    from gem_ray.inference.commands import reconstruct

    print(reconstruct(config))


if __name__ == "__main__":
    run_job("jobs.reconstruct", "Show images beside what a trained model makes of them.", main)
