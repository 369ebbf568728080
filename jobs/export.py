"""``python -m jobs.export run.name=NAME``: ONNX, torch.export, and a folder for ``gem_ray.load``."""

from __future__ import annotations

from gem_ray.config import GemConfig
from jobs.compose import run_job


def main(config: GemConfig) -> None:
    """Write the parts, say how near each is to torch, then print where they are."""
    from gem_ray.inference.commands import export

    print(export(config))


if __name__ == "__main__":
    run_job(
        "jobs.export",
        "Write encoder, graph and decoder of a trained model as ONNX and torch.export, each held against torch.",
        main,
    )
