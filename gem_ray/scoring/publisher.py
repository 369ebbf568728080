"""Turns scores into edges with evidence, and pushes them to the DisGraph's store."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_probabilities
from gem_ray.messages import EdgeUpdate, EvidenceKind, Push, PushReply, ScoresRef
from gem_ray.scoring.prompts import NUM_DIGITS, PROMPT_VERSION
from gem_ray.scoring.scores import ScoreTable
from gem_ray.scoring.traversals import Traversals, shown_relations
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
    """Writes evidence and pushes its edges; a refusal is counted and shown, and changes nothing.

    Args:
        run: the run's folder
        model: fingerprint of the MLLM
        count: records a metric: name, amount, labels
    """

    def __init__(
        self, run: Storage, store: Store, attributes: tuple[str, ...], model: str, count: Callable[..., None]
    ) -> None:
        self._run, self._store, self._attributes, self._model = run, store, attributes, model
        self._count = count
        self.last_refusal = ""

    async def publish_scores(self, table: ScoreTable, ref: ScoresRef) -> None:
        """Push Somers' D of every pair over the whole table."""
        relations = await asyncio.to_thread(relations_from_probabilities, table.probabilities)
        evidence = {
            "scores": {"uri": ref.uri, "sha256": ref.sha256, "num_images": ref.num_images},
            "missing": table.num_missing,
            "digit_mass": round(float(table.digit_mass.mean()), 4),
            **_relation_lists(relations.strength, relations.standard_error),
        }
        edges = self._edges(relations.strength, relations.standard_error, relations.num_observations)
        name = f"scores-{ref.num_images:09d}-{ref.sha256[:12]}.json"
        graph = await asyncio.to_thread(self._store.snapshot, None, PUSH_DEADLINE_S)
        # Answers about data do not depend on the graph: they are never stale.
        base_version = 0 if graph is None else graph.version
        await self._push(EvidenceKind.SCORES, name, evidence, base_version, edges, scores=ref)

    async def publish_traversals(
        self, drawn: Traversals, index: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> None:
        """Push what a checkpoint's traversals show.

        Args:
            index: [B] record numbers of the start images
            probabilities: [n, B, T, n, 6] of each moved node, start image, position, attribute and digit
        """
        shown = [shown_relations(node) for node in probabilities]
        strength, error = np.stack([pair[0] for pair in shown]), np.stack([pair[1] for pair in shown])
        expectations = probabilities @ np.arange(NUM_DIGITS)
        evidence = {
            "step": drawn.step,
            "graph_version": drawn.graph_version,
            "images": index.tolist(),
            "positions": drawn.positions.tolist(),
            # The diagonal, which is no edge, says how well each node moves its own attribute.
            **_relation_lists(strength, error),
            "expectations": _finite(expectations.round(3)),
        }
        edges = self._edges(strength, error, np.full(strength.shape, len(index)))
        name = f"traversals-{drawn.step:09d}.json"
        await self._push(EvidenceKind.TRAVERSALS, name, evidence, drawn.graph_version, edges, step=drawn.step)

    async def last_traversed_step(self) -> int | None:
        """Step of the checkpoint whose traversals the graph shows, None where it shows none."""
        graph = await asyncio.to_thread(self._store.snapshot, None, PUSH_DEADLINE_S)
        newest = -1 if graph is None else int(graph.shown_step.max())
        return newest if newest >= 0 else None

    async def _push(
        self,
        kind: EvidenceKind,
        name: str,
        evidence: dict[str, Any],
        base_version: int,
        edges: tuple[EdgeUpdate, ...],
        step: int | None = None,
        scores: ScoresRef | None = None,
    ) -> None:
        record = {
            "kind": kind.value,
            "prompt_version": PROMPT_VERSION,
            "model": self._model,
            "attributes": list(self._attributes),
            **evidence,
        }
        data = json.dumps(record).encode()
        await asyncio.to_thread(self._run.write_bytes, f"{FOLDER}/{name}", data)
        push = Push(
            # The same answers have the same id, also after a restart: the store applies them once.
            push_id=f"{kind.value}-{scores.sha256 if scores else hashlib.sha256(data).hexdigest()}",
            base_version=base_version,
            kind=kind,
            edges=edges,
            evidence_id=name,
            step=step,
            scores=scores,
        )
        reply = await asyncio.to_thread(self._store.push, push, PUSH_DEADLINE_S)
        if reply.refusal is None:
            self._count("gem_graph_pushes", 0 if reply.duplicate else 1)
            return
        self._count("gem_graph_refusals", 1, reason=reply.refusal.value)
        self.last_refusal = f"the graph store refused {name}: {reply.refusal.value}: {reply.detail}"
        log.warning(self.last_refusal)

    def _edges(
        self, strength: NDArray[np.float64], error: NDArray[np.float64], observations: NDArray[np.int64]
    ) -> tuple[EdgeUpdate, ...]:
        return tuple(
            EdgeUpdate(
                source=source,
                target=target,
                strength=float(strength[i, j]),
                standard_error=float(error[i, j]),
                num_observations=int(observations[i, j]),
            )
            for i, source in enumerate(self._attributes)
            for j, target in enumerate(self._attributes)
            if i != j
        )


def _relation_lists(strength: NDArray[np.float64], error: NDArray[np.float64]) -> dict[str, Any]:
    return {"strength": _finite(strength), "standard_error": _finite(error)}


def _finite(values: NDArray[np.float64]) -> Any:
    """Nested lists for JSON, which knows neither infinity nor NaN: None in their place."""
    if values.ndim == 0:
        return float(values) if np.isfinite(values) else None
    return [_finite(value) for value in values]
