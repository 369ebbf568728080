"""Notice that a node of the worker group is about to be taken away: how the ranks learn of it, and how they leave.

Ray marks a node as draining where its provider, or a person (``ray drain-node``), announces its end. Ray Train's
watcher tells every worker of the group; rank 0 tells it to the loop.
"""

from __future__ import annotations

import time

import torch
import torch.distributed as dist
from ray.train.v2._internal.execution.context import get_train_context

CONTROLLER_LOOKS_S = 2.0  # four of its looks, see RAY_TRAIN_HEALTH_CHECK_INTERVAL_S


class Notice:
    """Asks rank 0 at every ``every_steps``-th step, by a collective that all ranks call.

    Args:
        device: of the process group's tensors
    """

    def __init__(self, device: torch.device, every_steps: int) -> None:
        self._device, self._every_steps = device, every_steps

    def seen(self, step: int) -> bool:
        """Whether the group has to leave after this step; the same on all ranks."""
        if step % self._every_steps:
            return False
        told = torch.tensor([dist.get_rank() == 0 and is_told()], dtype=torch.uint8, device=self._device)
        dist.broadcast(told, 0)
        return bool(told)


def is_told() -> bool:
    """Whether Ray has told this worker. ``ray.train.get_preemption_info`` asks an actor: too slow for a step."""
    return get_train_context().preemption_context.preemption_info is not None


def wait_to_be_ended() -> None:
    """Let Ray Train's controller see the notice first: workers that end before it does look as if they were done."""
    time.sleep(CONTROLLER_LOOKS_S)
