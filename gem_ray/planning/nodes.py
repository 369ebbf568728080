"""Node types of a cluster, as launcher files and KubeRay manifests describe them."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

OBJECT_STORE_SHARE = 0.3  # of a node's memory, Ray's default


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """Nodes of one kind.

    Args:
        name: as the file names it
        role: value of the label ``gem-ray/role``, empty without one
        cpus, gpus: logical resources of one node
        memory: bytes of one node, None where the file does not say
        min_count, max_count: how many there always are, and may be
        instance: type of the machine, as prices name it; the name where the file does not say
        spot: whether the cloud may take it away
    """

    name: str
    role: str
    cpus: float
    gpus: float
    memory: float | None
    min_count: int
    max_count: int
    instance: str
    spot: bool

    def __str__(self) -> str:
        gpus = f", {self.gpus:g} GPUs" if self.gpus else ""
        count = str(self.max_count) if self.min_count == self.max_count else f"{self.min_count}-{self.max_count}"
        return f"{count} x {self.name} ({self.cpus:g} CPUs{gpus})"


@dataclass(frozen=True, kw_only=True)
class ClusterShape:
    """A cluster that may grow.

    Args:
        name: as its file names it
        node_types: the head's first
        max_workers: nodes beside the head in all, None where only the types are bounded
    """

    name: str
    node_types: tuple[NodeType, ...]
    max_workers: int | None = None


def this_machine(cpus: float) -> ClusterShape:
    """This machine as a cluster of one node.

    Args:
        cpus: logical ones, which a local Ray is given as many of as it is told; GPUs it finds by itself
    """
    memory = float(psutil.virtual_memory().total)
    node = NodeType(
        name="this machine",
        role="",
        cpus=float(cpus),
        gpus=float(torch.cuda.device_count()),
        memory=memory,
        min_count=1,
        max_count=1,
        instance="this machine",
        spot=False,
    )
    return ClusterShape(name="this machine", node_types=(node,))
