"""``python -m benchmarks.peers.contender MODULE FUNCTION FOLDER STEPS``: one contender in a process of its own."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module

import torch

from benchmarks.peers.gate import Finished, Gate
from gem_ray.scoring.torchvision_compat import register


def main() -> None:
    """Train until the gate does not open again."""
    module, function, folder, steps = sys.argv[1:]
    torch.set_num_threads(1)
    register()  # disent and Lightning import torchvision, whose compiled part may not fit this torch
    with suppress(Finished):
        getattr(import_module(f"benchmarks.peers.{module}"), function)(folder, Gate(folder, int(steps)))


if __name__ == "__main__":
    main()
