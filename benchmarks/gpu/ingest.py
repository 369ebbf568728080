"""Batches from host memory to the device, as the training loop takes them and with a pinned batch ahead."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator

import numpy as np
import torch

from gem_ray.data.batch import to_channels_first, to_float
from gem_ray.data.order import epoch_order, lane_batch, steps_per_epoch


def host_batches(records: int, batch: int, side: int) -> Iterator[torch.Tensor]:
    """Endless shuffled batches uint8 [B, 3, side, side] of random records, in the order that training takes."""
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (records, side * side * 3), dtype=np.uint8))
    per_epoch = steps_per_epoch(records, batch)
    for epoch in itertools.count():
        order = epoch_order(records, 0, epoch)
        for step in range(per_epoch):
            index = torch.from_numpy(lane_batch(order, step, batch, 0, 1))
            yield to_channels_first(rows.index_select(0, index), (side, side, 3))


def plain(batches: Iterator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """As the worker's loop does it: gathered, uploaded and cast when it is needed."""
    for images in batches:
        yield to_float(images, device, channels_last=True)


class Ahead:
    """A thread gathers and pins a few batches ahead; the upload of each overlaps the step before it."""

    def __init__(self, batches: Iterator[torch.Tensor], device: torch.device, depth: int = 3) -> None:
        self._batches, self._device = batches, device
        self._ready: queue.Queue[torch.Tensor] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[torch.Tensor]:
        stream = torch.cuda.Stream() if self._device.type == "cuda" else None
        following = self._uploaded(stream)
        while True:
            images = following
            if stream is not None:
                torch.cuda.current_stream().wait_stream(stream)
                images.record_stream(torch.cuda.current_stream())
            following = self._uploaded(stream)
            yield to_float(images, self._device, channels_last=True)

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue

    def _uploaded(self, stream: torch.cuda.Stream | None) -> torch.Tensor:
        images = self._ready.get()
        if stream is None:
            return images
        with torch.cuda.stream(stream):
            return images.to(self._device, non_blocking=True)

    def _fill(self) -> None:
        while not self._stop.is_set():
            images = next(self._batches)
            self._ready.put(images.pin_memory() if self._device.type == "cuda" else images)
