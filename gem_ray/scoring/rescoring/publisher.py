"""Turns answers into edges with evidence, and pushes them to the DisGraph's store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import Relations, relations_from_scores
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply, ScoresRef
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.prompts import NUM_DIGITS, PROMPT_VERSION
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.looking.traversals import Traversals, shown_relations
from gem_ray.scoring.rescoring.scores import ScoreTable
from gem_ray.storage import Storage

log = logging.getLogger(__name__)
PUSH_DEADLINE_S = 30.0
FOLDER = "evidence"


class Store(Protocol):
    """What is needed of ``graph.store.StoreClient``."""

    def push(self, push: Push, deadline_s: float) -> PushReply:
        """Send a push until it is answered."""
        ...

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph | None:
        """The current graph."""
        ...


class Publisher:
    """Writes evidence and pushes its edges; a refusal is shown, and changes nothing.

    Args:
        run: the run's folder
        model: fingerprint of the MLLM
        estimator: how scores become relations, see ``graph.relations.relations_from_scores``

    Attributes:
        since: version of the graph at which another model began to answer, None where none did: what it says is news
            from there on, though it may have said it once before the model that it replaces
        useful_changes: edges that an applied push moved by more than their standard error
        last_refusal: the newest refusal in words
    """

    def __init__(
        self,
        run: Storage,
        store: Store,
        attributes: tuple[str, ...],
        model: str,
        estimator: str,
    ) -> None:
        self._run, self._store, self._attributes = run, store, attributes
        self.model = model
        self._estimator = estimator
        self.since: int | None = None
        self.useful_changes = 0
        self.last_refusal = ""

    async def graph(self) -> DisGraph:
        """The store's newest graph."""
        graph = await asyncio.to_thread(self._store.snapshot, None, PUSH_DEADLINE_S)
        return DisGraph.empty(self._attributes) if graph is None else graph

    async def publish_scores(self, table: ScoreTable, ref: ScoresRef, cost: Cost) -> None:
        """Push the relations of every pair over the whole table."""
        relations = await asyncio.to_thread(relations_from_scores, table.probabilities, self._estimator)
        mass = table.mean_digit_mass
        evidence = {
            "estimator": self._estimator,
            "scores": {"uri": ref.uri, "sha256": ref.sha256, "num_images": ref.num_images},
            "missing": table.num_missing,
            "digit_mass": None if mass is None else round(mass, 4),
            **_relation_lists(relations),
        }
        name = f"scores-{int(table.asked.sum()):012d}"
        # Answers about data do not depend on the graph: they are never stale.
        base_version = (await self.graph()).version
        edges = self._edges(relations, self._all_pairs())
        await self._push(EvidenceKind.SCORES, name, evidence, base_version, edges, cost, scores=ref)

    async def publish_traversals(
        self,
        drawn: Traversals,
        sources: Sequence[int],
        index: NDArray[np.int64],
        probabilities: NDArray[np.float64],
        pairs: Sequence[tuple[int, int]],
        cost: Cost,
    ) -> None:
        """Push what a checkpoint's traversals show of some pairs.

        Args:
            sources: the m nodes that were moved
            index: [B] record numbers of the start images
            probabilities: [m, B, T, n, 6] of each moved node, start image, position, attribute and digit; NaN where
                nothing was asked
            pairs: (source, target) that were asked about
        """
        n = len(self._attributes)
        strength, error = np.zeros((n, n)), np.full((n, n), np.inf)
        for k, source in enumerate(sources):
            weights = None if drawn.weights is None else drawn.weights[k]
            strength[source], error[source] = shown_relations(probabilities[k], weights, own=source)
        observations = np.full((n, n), len(index))
        relations = Relations(strength=strength, standard_error=error, num_observations=observations)
        evidence = {
            "step": drawn.step,
            "graph_version": drawn.graph_version,
            "images": index.tolist(),
            "sources": list(sources),
            "positions": drawn.positions.tolist(),
            "weights": None if drawn.weights is None else drawn.weights.tolist(),
            # The diagonal, which is no edge, says how well each node moves its own attribute.
            **_relation_lists(relations),
            "expectations": _finite((probabilities @ np.arange(NUM_DIGITS)).round(3)),
        }
        name = f"traversals-{drawn.step:09d}"
        edges = self._edges(relations, known(relations, pairs))
        await self._push(EvidenceKind.TRAVERSALS, name, evidence, drawn.graph_version, edges, cost, step=drawn.step)

    async def publish_samples(
        self, drawn: Samples, probabilities: NDArray[np.float64], pairs: Sequence[tuple[int, int]], cost: Cost
    ) -> None:
        """Push what random images of a checkpoint show of some pairs, by the statistic of the data.

        Args:
            probabilities: [N, n, 6] of each image, attribute and digit; NaN where nothing was asked
        """
        relations = await asyncio.to_thread(relations_from_scores, probabilities, self._estimator)
        evidence = {
            "estimator": self._estimator,
            "step": drawn.step,
            "graph_version": drawn.graph_version,
            **_relation_lists(relations),
            "expectations": _finite((probabilities @ np.arange(NUM_DIGITS)).round(3)),
        }
        name = f"samples-{drawn.step:09d}"
        edges = self._edges(relations, known(relations, pairs))
        await self._push(EvidenceKind.SAMPLES, name, evidence, drawn.graph_version, edges, cost, step=drawn.step)

    async def publish_judgements(
        self, edges: Sequence[EdgeUpdate], answers: Sequence[dict[str, Any]], cost: Cost
    ) -> None:
        """Push what the MLLM says of pairs themselves; ``answers`` are the questions and their digit probabilities."""
        evidence = {"answers": list(answers), "edges": [asdict(edge) for edge in edges]}
        base_version = (await self.graph()).version
        await self._push(EvidenceKind.JUDGEMENTS, "judgements", evidence, base_version, tuple(edges), cost)

    async def _push(
        self,
        kind: EvidenceKind,
        name: str,
        evidence: dict[str, Any],
        base_version: int,
        edges: tuple[EdgeUpdate, ...],
        cost: Cost,
        step: int | None = None,
        scores: ScoresRef | None = None,
    ) -> None:
        record = {
            "kind": kind.value,
            "prompt_version": PROMPT_VERSION,
            "model": self.model,
            "attributes": list(self._attributes),
            **evidence,
        }
        # The same answers have the same id, also after a restart: the store applies them once. What they cost is no
        # part of it, since answers that are taken from the store again cost nothing; what they first cost stays.
        digest = scores.sha256 if scores else hashlib.sha256(json.dumps(record).encode()).hexdigest()
        name = f"{name}-{digest[:12]}.json"
        record["cost"] = asdict(cost)
        await asyncio.to_thread(self._run.create_bytes, f"{FOLDER}/{name}", json.dumps(record).encode())
        if not edges:  # that a look told nothing is worth keeping, and no news to the graph
            return
        before = await self.graph()
        if scores is not None and before.scores == scores:
            return
        push = Push(
            push_id=f"{kind.value}-{digest}" + ("" if self.since is None else f"-{self.since}"),
            base_version=base_version,
            kind=kind,
            edges=edges,
            evidence_id=name,
            step=step,
            scores=scores,
        )
        reply = await asyncio.to_thread(self._store.push, push, PUSH_DEADLINE_S)
        if reply.refusal is not None:
            self.last_refusal = f"the graph store refused {name}: {reply.refusal.value}: {reply.detail}"
            log.warning(self.last_refusal)
        elif not reply.duplicate:
            self.useful_changes += num_useful(before, push)

    def _all_pairs(self) -> list[tuple[int, int]]:
        n = len(self._attributes)
        return [(i, j) for i in range(n) for j in range(n) if i != j]

    def _edges(self, relations: Relations, pairs: Sequence[tuple[int, int]]) -> tuple[EdgeUpdate, ...]:
        return tuple(
            EdgeUpdate(
                source=self._attributes[i],
                target=self._attributes[j],
                strength=float(relations.strength[i, j]),
                standard_error=float(relations.standard_error[i, j]),
                num_observations=int(relations.num_observations[i, j]),
            )
            for i, j in pairs
        )


def known(relations: Relations, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs about which the answers say anything: what is not known must not come to be shown as 0."""
    return [pair for pair in pairs if np.isfinite(relations.standard_error[pair])]


def num_useful(before: DisGraph, push: Push) -> int:
    """How many edges of a push differ by more than their standard error from what its kind of evidence said before.

    An edge about which nothing is known (an infinite error) is no change, whatever was known before.
    """
    values = {
        EvidenceKind.SCORES: before.scored,
        EvidenceKind.JUDGEMENTS: before.judged,
        EvidenceKind.TRAVERSALS: before.shown,
        EvidenceKind.SAMPLES: before.sampled,
    }[push.kind]
    changes = 0
    for edge in push.edges:
        old = float(values[before.index(edge.source), before.index(edge.target)])
        says_something = np.isfinite(edge.standard_error)
        changes += bool(says_something and (np.isnan(old) or abs(edge.strength - old) > edge.standard_error))
    return changes


def _relation_lists(relations: Relations) -> dict[str, Any]:
    return {"strength": _finite(relations.strength), "standard_error": _finite(relations.standard_error)}


def _finite(values: NDArray[np.float64]) -> Any:
    """Nested lists for JSON, which knows neither infinity nor NaN: None in their place."""
    if values.ndim == 0:
        return float(values) if np.isfinite(values) else None
    return [_finite(value) for value in values]
