"""What a step must do at least: its FLOP, and the bytes that products, convolutions and the optimizer read and write.

Whatever else there is (activations, casts, sums) may be fused into one of these, so it counts nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS = ("aten.convolution", "aten.mm.", "aten.addmm.", "aten.bmm.", "aten.baddbmm.")
OPTIMIZER = "aten._fused_adam"
WRITTEN_IN_PLACE = 3 / 4  # of parameters, gradients and two moments, Adam writes all but the gradients


class Traffic(TorchDispatchMode):
    """Adds up the bytes of all tensors that go into and come out of what cannot be fused away."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        result = func(*args, **(kwargs or {}))
        adam = str(func).startswith(OPTIMIZER)
        if adam or str(func).startswith(PRODUCTS):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.num_bytes += moved * (1 + WRITTEN_IN_PLACE * adam)
        return result


def of_step(run: Callable[[], object]) -> tuple[float, float]:
    """(FLOP, bytes) of one eager call."""
    with FlopCounterMode(display=False) as counter:
        run()
    with Traffic() as traffic:
        run()
    return float(counter.get_total_flops()), traffic.num_bytes
