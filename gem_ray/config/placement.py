"""On which nodes of a cluster the parts of a job run."""

from __future__ import annotations

from dataclasses import dataclass

ROLE = "gem-ray/role"
"""Ray's label of a node for its role."""


@dataclass(kw_only=True)
class PlacementConfig:
    """Roles of nodes (their label ``gem-ray/role``) that parts of a job must run on; empty runs a part anywhere."""

    coordinators: str = ""
    """Role for the driver, the DisGraph's store and the rescorer: nodes that are not taken away."""
    ingest: str = ""
    """Role for Ray Data's preparation of images."""
    training: str = ""
    """Role for the Ray Train workers."""
    mllm: str = ""
    """Role for the replicas of the MLLM."""
