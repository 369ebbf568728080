"""What the newest checkpoint says of the edges: how much the loss hangs on each, and what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.checkpoint import load_checkpoint
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import OF_THE_MODEL
from gem_ray.messages.graph import EvidenceKind
from gem_ray.scoring.choosing.selection import EdgeSignals
from gem_ray.scoring.choosing.signals import influence_of, learned_strength, signals_of
from gem_ray.storage import Storage


class SignalSource(Protocol):
    """Gives the signals of every kind of evidence for a graph."""

    def __call__(self, graph: DisGraph, order_gap: NDArray[np.float64]) -> Mapping[EvidenceKind, EdgeSignals]:
        """By kind of evidence; ``order_gap`` [n, n] is that of the judgements, NaN where there were none."""
        ...


class CheckpointSignals:
    """Signals from a run's newest checkpoint; without one the graph alone speaks.

    It remembers the learned weights of the checkpoints that were looked at, since what was seen in one holds as long as
    they have not moved; after a restart that memory begins anew.
    """

    def __init__(self, run: Storage) -> None:
        self._run = run
        self._learned: dict[int, NDArray[np.float64]] = {}

    def __call__(self, graph: DisGraph, order_gap: NDArray[np.float64]) -> dict[EvidenceKind, EdgeSignals]:
        """See ``SignalSource``.

        Raises:
            DataError: the checkpoint is of another model
        """
        checkpoint = load_checkpoint(self._run)
        if checkpoint is None:
            return {kind: signals_of(graph, kind, order_gap=_gap_of(kind, order_gap)) for kind in EvidenceKind}
        learned = learned_strength(checkpoint.model, graph.strength)
        influence = influence_of(checkpoint.state, len(graph.attributes))
        seen = {int(step) for kind in OF_THE_MODEL for step in np.unique(graph.layers[kind].step)}
        self._learned = {step: value for step, value in self._learned.items() if step in seen}
        signals = {
            kind: signals_of(
                graph,
                kind,
                step=checkpoint.step,
                influence=influence,
                learned=learned,
                order_gap=_gap_of(kind, order_gap),
                learned_then=self._learned_at(graph.layers[kind].step) if kind in OF_THE_MODEL else None,
            )
            for kind in EvidenceKind
        }
        self._learned[checkpoint.step] = learned
        return signals

    def _learned_at(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """The learned weight [n, n] of each pair in the checkpoint of its last look; NaN where it is not known."""
        found = np.full(steps.shape, np.nan)
        for step, learned in self._learned.items():
            found = np.where(steps == step, learned, found)
        return found


def _gap_of(kind: EvidenceKind, order_gap: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return order_gap if kind is EvidenceKind.JUDGEMENTS else None
