"""``python -m jobs.prepare``: images of any source to shards and a manifest."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Prepare the data, then say what is there."""
    from gem_ray.absolute_paths import with_absolute_paths
    from gem_ray.train.ray_session import ray_session

    with ray_session(config):
        # Imports Ray, which reads its environment as it is imported: the session has set it by now.
        from gem_ray.data.prepare import prepare

        report = prepare(with_absolute_paths(config))
    print(f"{config.data.uri}: {report}")


if __name__ == "__main__":
    run_job("jobs.prepare", "Turn images into shards that training reads: crop, resize, verify, shuffle.", main)
