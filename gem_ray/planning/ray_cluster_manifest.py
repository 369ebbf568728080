"""A KubeRay manifest (RayCluster, or the one inside a RayJob or RayService) as node types."""

from __future__ import annotations

import json
import re
from typing import Any

from gem_ray.config.placement import ROLE
from gem_ray.errors import ConfigError
from gem_ray.planning.nodes import ClusterShape, NodeType

HOLDERS = {"RayCluster": (), "RayJob": ("rayClusterSpec",), "RayService": ("rayClusterConfig",)}
# Decimal and binary suffixes of Kubernetes' quantities.
SUFFIXES = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
SUFFIXES |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
QUANTITY = re.compile(r"([0-9.]+)([A-Za-z]*)")
INSTANCE = "node.kubernetes.io/instance-type"
SPOT = {
    "cloud.google.com/gke-spot": "true",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
}


def read_manifest_of_cluster(content: dict[str, Any], name: str) -> ClusterShape:
    """The groups of a manifest.

    Args:
        content: the parsed document, of a kind in ``HOLDERS``
        name: of the file, for messages

    Raises:
        ConfigError: a group without a container that says what it needs
    """
    spec = content["spec"]
    for key in HOLDERS[content["kind"]]:
        spec = spec[key]
    head = spec["headGroupSpec"]
    groups = [_node_type("head", head, 1, 1, name)]
    for group in spec.get("workerGroupSpecs") or []:
        replicas = int(group.get("replicas", 0))
        low, high = int(group.get("minReplicas", replicas)), int(group.get("maxReplicas", replicas))
        # A group of several hosts a replica is that many Ray nodes.
        hosts = int(group.get("numOfHosts", 1))
        groups.append(_node_type(group["groupName"], group, low * hosts, high * hosts, name))
    return ClusterShape(name=str(content.get("metadata", {}).get("name", name)), node_types=tuple(groups))


def quantity(value: str | float) -> float:
    """A quantity of Kubernetes, as in 500m, 4, 16Gi.

    Raises:
        ConfigError: something else
    """
    match = QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in SUFFIXES:
        raise ConfigError(f"{value!r} is no quantity of Kubernetes, as in 500m, 4 or 16Gi")
    return float(match[1]) * SUFFIXES[match[2]]


def _node_type(kind: str, group: dict[str, Any], low: int, high: int, name: str) -> NodeType:
    started = group.get("rayStartParams") or {}
    pod = group["template"]["spec"]
    asked = _asked(pod)
    cpus, gpus = _stated(group, started, "CPU", "num-cpus"), _stated(group, started, "GPU", "num-gpus")
    if cpus is None and "cpu" not in asked:
        raise ConfigError(f"{name}: group {kind!r} says neither num-cpus nor how many CPUs its container needs")
    selector = pod.get("nodeSelector") or {}
    return NodeType(
        name=kind,
        role=_labels(group, started).get(ROLE, ""),
        cpus=asked["cpu"] if cpus is None else cpus,
        gpus=asked.get("nvidia.com/gpu", 0.0) if gpus is None else gpus,
        memory=asked.get("memory"),
        min_count=low,
        max_count=high,
        instance=str(selector.get(INSTANCE, kind)),
        spot=any(str(selector.get(key)) == value for key, value in SPOT.items()),
    )


def _asked(pod: dict[str, Any]) -> dict[str, float]:
    """What Ray's container, the first one, may use: limits, or requests where there are none."""
    containers = pod.get("containers") or [{}]
    resources = containers[0].get("resources") or {}
    return {
        key: quantity(value) for key, value in {**resources.get("requests", {}), **resources.get("limits", {})}.items()
    }


def _stated(group: dict[str, Any], started: dict[str, Any], resource: str, parameter: str) -> float | None:
    """A logical resource as the group or the parameters of `ray start` state it."""
    resources = group.get("resources") or {}
    value = resources.get(resource, started.get(parameter))
    return None if value is None else quantity(value)


def _labels(group: dict[str, Any], started: dict[str, Any]) -> dict[str, str]:
    """Ray's node labels: a field of the group, or a parameter of `ray start` (key=value,... or JSON)."""
    if group.get("labels"):
        return {str(key): str(value) for key, value in group["labels"].items()}
    text = str(started.get("labels", "")).strip().strip("'")
    if text.startswith("{"):
        return {str(key): str(value) for key, value in json.loads(text).items()}
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {key.strip().strip('"'): value.strip().strip('"') for key, _, value in pairs}
