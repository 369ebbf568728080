"""``python -m jobs.train``: the whole GEM loop, from images to a report."""

from __future__ import annotations

from gem_ray.config import GemConfig
from gem_ray.structured_log import say
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Say what it will take, train, then print the summary."""
    from gem_ray.planning.plan import cluster_of, make_plan, short_form
    from gem_ray.train.trainer import train

    for line in short_form(make_plan(config, cluster_of(config))).splitlines():
        say(line)
    train(config)


if __name__ == "__main__":
    run_job("jobs.train", "Train GEM on sharded images while the MLLM rescores the relations.", main)
