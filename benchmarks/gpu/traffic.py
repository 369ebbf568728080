"""What a step must do at least: its FLOP, and the bytes that its operations read and write where nothing is fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

VIEWS = (
    "view",
    "permute",
    "transpose",
    "t.default",
    "expand",
    "detach",
    "unflatten",
    "alias",
    "split",
    "slice",
    "select",
)


class Traffic(TorchDispatchMode):
    """Adds up the bytes of all tensors that go into and come out of each operation; views move none."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        result = func(*args, **(kwargs or {}))
        if not any(name in str(func) for name in VIEWS):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.num_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def of_step(run: Callable[[], object]) -> tuple[float, float]:
    """(FLOP, bytes) of one eager call."""
    with FlopCounterMode(display=False) as counter:
        run()
    with Traffic() as traffic:
        run()
    return float(counter.get_total_flops()), float(traffic.num_bytes)
