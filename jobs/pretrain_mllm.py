"""``python -m jobs.pretrain_mllm``: train the nano MLLM on questions about drawn faces."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Train, or go on training, then print where the model is."""
    from gem_ray.scoring.pretrain import pretrain

    folder = pretrain(config.pretrain)
    print(f"the nano MLLM is in {folder}; use it with scoring.model={folder}")


if __name__ == "__main__":
    run_job("jobs.pretrain_mllm", "Train the nano MLLM on questions about drawn faces.", main)
