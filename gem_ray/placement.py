"""On which nodes the parts of a job run: nodes have a role as a label, and parts ask for one (``config.placement``)."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gem_ray.config.placement import ROLE


def label_selector(role: str) -> dict[str, str] | None:
    """Ray's label selector for nodes of a role; None for any node."""
    return {ROLE: role} if role else None


def coordinator_options(role: str, in_local_folder: bool) -> dict[str, Any]:
    """Options of an actor that a run cannot do without, for the node it runs on.

    Args:
        role: of its nodes, empty for any; where there is none of them it waits
        in_local_folder: it keeps files in a folder that is only there on this machine: it stays here, with the driver.
            In remote storage it may move when its node dies.
    """
    if in_local_folder:
        here = ray.get_runtime_context().get_node_id()
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False)}
    return {"label_selector": label_selector(role)} if role else {}
