"""``python -m jobs.scan run.name=NAME``: the MLLM's scores of a whole prepared data set; the same command goes on."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Scan, then say what the answers show."""
    from gem_ray.absolute_paths import with_absolute_paths
    from gem_ray.train.ray_session import ray_session

    with ray_session(config):
        # Imports Ray, which reads its environment as it is imported: the session has set it by now.
        from gem_ray.scoring.checking.scanning import run_scan

        run_scan(with_absolute_paths(config))


if __name__ == "__main__":
    run_job("jobs.scan", "Score a whole prepared data set with the MLLM, part by part; goes on where it stopped.", main)
