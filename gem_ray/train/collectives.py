"""The few collectives of the training loop beyond DDP's own; every rank of the process group calls each."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def broadcast_bytes(data: bytes | None, device: torch.device) -> bytes | None:
    """Rank 0's bytes on every rank; None where rank 0 has none."""
    size = torch.tensor([len(data) if data else 0], dtype=torch.int64, device=device)
    dist.broadcast(size, 0)
    if not int(size):
        return None
    if data and dist.get_rank() == 0:
        content = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    else:
        content = torch.empty(int(size), dtype=torch.uint8, device=device)
    dist.broadcast(content, 0)
    return content.cpu().numpy().tobytes()


def gather_numbers(number: int, device: torch.device) -> list[int]:
    """One integer of every rank, by rank."""
    return [int(tensor) for tensor in _gather(torch.tensor([number], dtype=torch.int64, device=device))]


def gather_digests(digest: str, device: torch.device) -> list[str]:
    """One hexadecimal digest of every rank, by rank."""
    mine = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=device)
    return [tensor.cpu().numpy().tobytes().hex() for tensor in _gather(mine)]


def _gather(mine: Tensor) -> list[Tensor]:
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    return gathered
