"""What the MLLM's answers have cost, by kind of evidence and by edge; and relation fidelity from look to look.

Both are read off the run's journal and the evidence files that its records name. A push that says something of several
edges shares its cost among them evenly; of pushes of the same evidence only the first has cost anything. What the
journal no longer holds is left out: the oldest versions of a very long run, and answers whose push was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.evaluation.relations import fidelity_noise, relation_fidelity
from gem_ray.evaluation.stored_graph import replayed, stored_records
from gem_ray.graph.record import Record
from gem_ray.messages.graph import EvidenceKind
from gem_ray.messages.rescorer import Cost
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

FOLDER = "evidence"
PARALLEL_READS = 16


@dataclass(frozen=True, kw_only=True)
class KindCost:
    """Cost of one kind of evidence.

    Args:
        pushes, edges: accepted pushes, and edges in them, each as often as it was pushed
    """

    kind: EvidenceKind
    pushes: int
    edges: int
    cost: Cost


@dataclass(frozen=True)
class Spending:
    """Costs of a run's evidence; empty and 0 where the evidence holds none.

    Args:
        by_kind: kinds with at least one push
        edge_questions: float64 [n, n], questions asked of the MLLM for each edge, its share of every push
    """

    by_kind: tuple[KindCost, ...]
    edge_questions: NDArray[np.float64]

    @property
    def total(self) -> Cost:
        """Of all kinds together."""
        return _sum([entry.cost for entry in self.by_kind])


@dataclass(frozen=True)
class Look:
    """Relation fidelity after one look at the model's own images.

    Args:
        step: of the checkpoint
        gap: see ``relations.relation_fidelity``
        noise: see ``relations.fidelity_noise``
    """

    step: int
    gap: float
    noise: float


def read_spending(run: Storage, attributes: Sequence[str]) -> Spending:
    """Costs of the evidence behind a run's graph.

    Raises:
        DataError: an evidence file is no JSON object
        GraphError: the journal is damaged
    """
    pushes = [record.push for record in stored_records(run.child("graph")) if record.push is not None]
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        names = list(dict.fromkeys(push.evidence_id for push in pushes))
        paid = dict(zip(names, pool.map(lambda name: _cost_of(run, name), names), strict=True))
    costs = [paid.pop(push.evidence_id, Cost()) for push in pushes]
    place = {name: index for index, name in enumerate(attributes)}
    questions = np.zeros((len(attributes), len(attributes)))
    by_kind = []
    for kind in EvidenceKind:
        mine = [(push, cost) for push, cost in zip(pushes, costs, strict=True) if push.kind is kind]
        for push, cost in mine:
            for edge in push.edges:
                if edge.source in place and edge.target in place:
                    questions[place[edge.source], place[edge.target]] += cost.asked / len(push.edges)
        if mine:
            num_edges = sum(len(push.edges) for push, _ in mine)
            total = _sum([cost for _, cost in mine])
            by_kind.append(KindCost(kind=kind, pushes=len(mine), edges=num_edges, cost=total))
    return Spending(tuple(by_kind), questions)


def read_looks(run: Storage) -> tuple[Look, ...]:
    """Relation fidelity after every look, in order; the newest where the same step was looked at twice.

    Raises:
        GraphError: a file of the graph is damaged
    """
    looks: dict[int, Look] = {}
    for record, graph in replayed(run.child("graph")):
        gap, noise = relation_fidelity(graph), fidelity_noise(graph)
        step = _sampled_step(record)
        if step is not None and gap is not None and noise is not None:
            looks[step] = Look(step, gap, noise)
    return tuple(looks[step] for step in sorted(looks))


def _sampled_step(record: Record) -> int | None:
    return record.push.step if record.push is not None and record.push.kind is EvidenceKind.SAMPLES else None


def _cost_of(run: Storage, evidence_id: str) -> Cost:
    """The cost an evidence file holds; none for a file of gem_ray 0.1, or one that was removed."""
    name = f"{FOLDER}/{evidence_id}"
    try:
        stored = typed(dict[str, Any], parse_json(run.read_bytes(name))).get("cost", {})
        return typed(Cost, {field.name: stored[field.name] for field in fields(Cost) if field.name in stored}, "cost")
    except FileNotFoundError:
        return Cost()
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{run.uri}/{name} is no evidence file: {error}; remove it") from error


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(**{field.name: sum(getattr(cost, field.name) for cost in costs) for field in fields(Cost)})
