"""A file of the Ray cluster launcher (AWS, GCP) as node types."""

from __future__ import annotations

from typing import Any

from gem_ray.config.placement import ROLE
from gem_ray.errors import ConfigError
from gem_ray.planning.nodes import OBJECT_STORE_SHARE, ClusterShape, NodeType


def read_launcher(content: dict[str, Any], name: str) -> ClusterShape:
    """The node types of a launcher file.

    Args:
        content: the parsed YAML
        name: of the file, for messages

    Raises:
        ConfigError: a node type without logical resources, or a head type that is not there
    """
    types = content["available_node_types"]
    head = content.get("head_node_type")
    if head not in types:
        raise ConfigError(f"{name}: head_node_type={head!r} is none of its node types {', '.join(types)}")
    ordered = [head, *(kind for kind in types if kind != head)]
    return ClusterShape(
        name=str(content.get("cluster_name", name)),
        node_types=tuple(_node_type(kind, types[kind], kind == head, name) for kind in ordered),
        max_workers=int(content["max_workers"]) if "max_workers" in content else None,
    )


def _node_type(kind: str, settings: dict[str, Any], is_head: bool, name: str) -> NodeType:
    resources = settings.get("resources") or {}
    if "CPU" not in resources:
        raise ConfigError(f"{name}: node type {kind!r} has no resources.CPU; a plan needs it stated")
    machine = settings.get("node_config") or {}
    low = int(settings.get("min_workers", 0))
    return NodeType(
        name=kind,
        role=str((settings.get("labels") or {}).get(ROLE, "")),
        cpus=float(resources["CPU"]),
        gpus=float(resources.get("GPU", 0)),
        # What the launcher calls memory is what Ray's object store leaves of it.
        memory=float(resources["memory"]) / (1 - OBJECT_STORE_SHARE) if "memory" in resources else None,
        min_count=1 if is_head else low,
        max_count=1 if is_head else int(settings.get("max_workers", low)),
        instance=_instance(machine) or kind,
        spot=_is_spot(machine),
    )


def _instance(machine: dict[str, Any]) -> str:
    """InstanceType of AWS; the last part of machineType of GCP, which may be a whole address."""
    return str(machine.get("InstanceType") or str(machine.get("machineType", "")).rpartition("/")[2])


def _is_spot(machine: dict[str, Any]) -> bool:
    aws = (machine.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
    scheduling = machine.get("scheduling") or {}
    settings = scheduling if isinstance(scheduling, list) else [scheduling]
    return aws or any(part.get("preemptible") or part.get("provisioningModel") == "SPOT" for part in settings)
