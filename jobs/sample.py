"""``python -m jobs.sample run.name=NAME``: random images of a trained model."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Draw samples, then print where the picture is."""
    from gem_ray.inference.commands import sample

    print(sample(config))


if __name__ == "__main__":
    run_job("jobs.sample", "Draw random images of a trained model; the same for the same seed.", main)
