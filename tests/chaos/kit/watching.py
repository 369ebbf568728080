"""Memory and descriptors of a process over time, and how fast they grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil
from scipy.stats import theilslopes


@dataclass
class Watch:
    """Samples of one process: seconds, resident bytes, open descriptors."""

    pid: int
    samples: list[tuple[float, int, int]] = field(default_factory=list)

    def after(self, warm_up: float) -> np.ndarray:
        """float [N, 3]: the samples behind the first part of the time, such as 0.3."""
        samples = np.array(self.samples, dtype=np.float64)
        return samples[samples[:, 0] >= warm_up * samples[-1, 0]]

    def megabytes_per_minute(self, warm_up: float = 0.3) -> float:
        """The median slope between any two samples, which a single jump does not move."""
        seconds, resident, _ = self.after(warm_up).T
        return float(theilslopes(resident / 1e6, seconds / 60).slope)

    def more_descriptors(self, warm_up: float = 0.3) -> int:
        """The median of the last quarter, less that of the first."""
        descriptors = self.after(warm_up)[:, 2]
        part = max(1, len(descriptors) // 4)
        return int(np.median(descriptors[-part:]) - np.median(descriptors[:part]))


@contextmanager
def watched(pid: int, every_s: float = 1.0) -> Iterator[Watch]:
    """Look at a process for the length of the body.

    Raises:
        RuntimeError: the process ended before the body did, which the samples would not tell
    """
    process, watch, over = psutil.Process(pid), Watch(pid), threading.Event()
    began = time.monotonic()

    def look() -> None:
        while not over.wait(every_s):
            try:
                sample = (time.monotonic() - began, process.memory_info().rss, process.num_fds())
            except psutil.NoSuchProcess:
                return
            watch.samples.append(sample)

    thread = threading.Thread(target=look, name="watch")
    thread.start()
    try:
        yield watch
        if not thread.is_alive():
            raise RuntimeError(f"process {pid} ended while it was watched, after {len(watch.samples)} samples")
    finally:
        over.set()
        thread.join()
