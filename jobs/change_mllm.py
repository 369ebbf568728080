"""``python -m jobs.change_mllm run.name=NAME mllm=NAME``: give a run that is up another MLLM, while it goes on."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Change the MLLM; ``run``, what ``scoring`` says of serving, and ``placement.mllm`` are used."""
    from gem_ray.train.ray_session import running_ray

    with running_ray(config):
        # Imports Ray, which reads its environment as it is imported: the session has set it by now.
        from gem_ray.scoring.serving.application import change_mllm

        change_mllm(config.scoring, config.run.name, role=config.placement.mllm)
    print("a run that is started again asks the MLLM of its own command line: give it the same options")


if __name__ == "__main__":
    run_job("jobs.change_mllm", "Give a run that is up another MLLM, or other options of it, while it goes on.", main)
