"""What the device can do at all, measured in the same run as what it is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.gpu.timing import median


@dataclass(frozen=True)
class Ceilings:
    """Bytes/s of a copy on the device (read and written), FLOP/s of a bf16 product, bytes/s from pinned host memory."""

    copy: float
    bf16: float
    upload: float


def measure(device: torch.device, quick: bool) -> Ceilings:
    """The three ceilings, on random data."""
    size = 1 << (22 if quick else 30)
    side = 256 if quick else 8192
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / median(lambda: target.copy_(source), device, 5, 5)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    bf16 = 2 * side**3 / median(lambda: a @ b, device, 5, 5)
    host = torch.empty(size // 4, dtype=torch.uint8, pin_memory=device.type == "cuda")
    upload = host.numel() / median(lambda: target[: host.numel()].copy_(host, non_blocking=True), device, 5, 2)
    return Ceilings(copy, bf16, upload)
