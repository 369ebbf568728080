"""The interface between data and training: a batch, what a loader can do, and how its bytes become floats."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class Batch:
    """One lane's part of a step.

    Args:
        images: uint8 [B, 3, H, W], channels-last in memory
        index: record numbers, int64 [B]
    """

    images: torch.Tensor
    index: np.ndarray


class Loader(Protocol):
    """Reads the training records [0, count - holdout) for one lane of a batch."""

    image_size: int
    steps_per_epoch: int

    @property
    def max_held(self) -> int:
        """Records that can be held at a time."""
        ...

    def batches(self, start_step: int) -> Iterator[Batch]:
        """Batches from a step on, for ever; the first costs the same wherever it begins."""
        ...

    def hold(self, index: np.ndarray) -> Future[None] | None:
        """Begin to read what ``images`` will be asked for, any records of the data, held-out ones too; what was held
        before stays until the next call. None where all records lie in memory."""
        ...

    def images(self, index: np.ndarray) -> torch.Tensor:
        """Images of records that are held: uint8 [M, 3, H, W]."""
        ...


def to_channels_first(rows: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Rows of bytes [B, H * W * 3] as images [B, 3, H, W], without moving a byte."""
    return rows.view(-1, *shape).permute(0, 3, 1, 2)


def to_float(images_u8: torch.Tensor, device: torch.device, channels_last: bool) -> torch.Tensor:
    """uint8 [B, 3, H, W] to float in [0, 1] on the device; the bytes travel, not the floats."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return images_u8.to(device, non_blocking=True).to(torch.float32, memory_format=memory_format).div_(255.0)
