"""``python -m jobs.encode run.name=NAME``: the codes of a whole data set as Parquet; the same command goes on."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Encode, then say where the codes are."""
    from gem_ray.absolute_paths import with_absolute_paths
    from gem_ray.train.ray_session import ray_session

    with ray_session(config) as dashboard:
        # Imports Ray, which reads its environment as it is imported: the session has set it by now.
        from gem_ray.inference.encoding import encode_data

        print(encode_data(with_absolute_paths(config), can_grow=dashboard is None))


if __name__ == "__main__":
    run_job("jobs.encode", "Encode a data set or image files to Parquet, part by part; goes on where it stopped.", main)
