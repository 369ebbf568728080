"""Whether parts fit on the nodes of a cluster, and where: first fit, the largest first.

Ray's scheduler does not search for the best packing either. What first fit places can be placed; where it fails another
packing may exist, but Ray would have to find it by luck.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gem_ray.planning.nodes import ClusterShape, NodeType
from gem_ray.planning.parts import Part

SLACK = 1e-9


@dataclass
class _Node:
    kind: NodeType
    cpus: float
    gpus: float
    parts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Placement:
    """Where parts have come to lie.

    Args:
        nodes: nodes that are up, by node type; those that are always up count without a part on them
        places: for each part, how many of it lie on nodes of which type
        together: for each part, how many of it lie on one node, where most do, by node type
        missing: how many of a part have no place
    """

    nodes: Counter[str]
    places: dict[str, Counter[str]]
    together: dict[str, Counter[str]]
    missing: dict[str, int]


def fit(parts: Sequence[Part], cluster: ClusterShape) -> Placement:
    """Place ``high`` of every part, on nodes that are up and then on new ones, the smallest that do."""
    up = [_Node(kind, kind.cpus, kind.gpus) for kind in cluster.node_types for _ in range(kind.min_count)]
    heads = cluster.node_types[0].min_count if cluster.node_types else 0
    places: dict[str, Counter[str]] = {part.name: Counter() for part in parts}
    missing: dict[str, int] = {}
    # Parts bound to a role first, and the largest of them: what may go anywhere fills what is left.
    for part in sorted(parts, key=lambda part: (not part.role, -part.gpus, -part.cpus)):
        kinds = [kind for kind in cluster.node_types if holds(kind, part)]
        kinds.sort(key=lambda kind: (kind.gpus, kind.cpus))
        for number in range(part.high):
            node = _room(up, part) or _new(up, kinds, cluster, heads)
            if node is None:
                missing[part.name] = part.high - number
                break
            node.cpus, node.gpus = node.cpus - part.cpus, node.gpus - part.gpus
            node.parts[part.name] += 1
            places[part.name][node.kind.name] += 1
    together: dict[str, Counter[str]] = {part.name: Counter() for part in parts}
    for node in up:
        for name, count in node.parts.items():
            together[name] |= Counter({node.kind.name: count})  # the larger one
    return Placement(Counter(node.kind.name for node in up), places, together, missing)


def holds(kind: NodeType, part: Part) -> bool:
    """Whether an empty node of a kind may and can hold one of a part."""
    return part.role in ("", kind.role) and kind.cpus + SLACK >= part.cpus and kind.gpus + SLACK >= part.gpus


def _room(up: list[_Node], part: Part) -> _Node | None:
    roomy = (
        node
        for node in up
        if part.role in ("", node.kind.role) and node.cpus + SLACK >= part.cpus and node.gpus + SLACK >= part.gpus
    )
    # Nodes with GPUs last, so that what needs none leaves their CPUs to what does.
    return min(roomy, key=lambda node: (node.kind.gpus > 0 and not part.gpus, node.gpus), default=None)


def _new(up: list[_Node], kinds: list[NodeType], cluster: ClusterShape, heads: int) -> _Node | None:
    if cluster.max_workers is not None and len(up) - heads >= cluster.max_workers:
        return None
    for kind in kinds:
        if sum(node.kind is kind for node in up) < kind.max_count:
            up.append(_Node(kind, kind.cpus, kind.gpus))
            return up[-1]
    return None


def shortage(part: Part, lacking: int, cluster: ClusterShape) -> str:
    """What a part asks for, what the cluster can give, and what to change."""
    asked = f"{part.name}: {part.high} of {part.each} each" + (f" on nodes of role {part.role!r}" if part.role else "")
    fitting = [kind for kind in cluster.node_types if part.role in ("", kind.role)]
    if not fitting:
        roles = ", ".join(sorted({kind.role or "none" for kind in cluster.node_types}))
        return (
            f"{asked} are asked for, and the cluster {cluster.name} has no such nodes (its roles: {roles}); label a "
            f"node type with gem-ray/role={part.role}, or set placement of {part.name} to one of them"
        )
    given = "; ".join(map(str, fitting))
    large_enough = [kind for kind in fitting if holds(kind, part)]
    if not large_enough:
        return f"{asked} are asked for, and no node is so large: {given}; take larger nodes, or lower {part.options}"
    kind = min(large_enough, key=lambda kind: (kind.gpus, kind.cpus))
    bound = "" if cluster.max_workers is None else f" (max_workers of the whole cluster: {cluster.max_workers})"
    return (
        f"{asked} are asked for, and {lacking} of them find no room beside the rest: {given}{bound}; raise max_workers "
        f"of {kind.name}, or lower {part.options}"
    )
