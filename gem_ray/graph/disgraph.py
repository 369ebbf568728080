"""DisGraph: named attributes and the directed, signed, weighted relations between them (GEM paper, section 3.2).

A frozen value with a layer of evidence for each kind. ``check`` says why a push must not change it, ``apply`` gives the
next version; neither touches storage, the clock or Ray, so that a journal of pushes replays to the same bits anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import GraphError
from gem_ray.graph.admission import refusal_of
from gem_ray.graph.disgraph_rules import fault_of
from gem_ray.graph.disgraph_text import decode_graph, encode_graph
from gem_ray.graph.layers import Ids, Layer, combined, confidence_of, read_only
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EvidenceKind, Push, Refusal, ScoresRef

FOLLOWED = (EvidenceKind.SCORES, EvidenceKind.JUDGEMENTS)
"""Evidence about the data, which training follows. Evidence about the model must not: it would confirm itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DisGraph:
    """One version of the graph. Arrays are read-only, [n, n], indexed [source, target]; compare by ``digest``.

    Args:
        strength: float64 in [-1, 1], Somers' D(A_target | A_source), what training follows: scores and judgements
            weighed by precision, approached by at most the clamp a push; 0 on the diagonal and without evidence
        layers: the evidence of every kind
        scores: the table of scores the strengths come from, None before the first scan
    """

    attributes: tuple[str, ...]
    version: int
    strength: NDArray[np.float64]
    layers: Mapping[EvidenceKind, Layer]
    scores: ScoresRef | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", read_only(np.array(self.strength, dtype=np.float64)))
        fault = fault_of(self)
        if fault:
            raise GraphError(f"not a DisGraph: {fault}")

    @classmethod
    def empty(cls, attributes: tuple[str, ...]) -> DisGraph:
        """Version 0 without any evidence."""
        n = len(attributes)
        layers = {kind: Layer.unknown(n) for kind in EvidenceKind}
        return cls(attributes=tuple(attributes), version=0, strength=np.zeros((n, n)), layers=layers)

    @classmethod
    def from_strength(
        cls, attributes: tuple[str, ...], strength: NDArray[np.floating], standard_error: NDArray[np.floating]
    ) -> DisGraph:
        """Version 0 with the strengths given, as scores (Relations' arrays fit); the diagonal is ignored."""
        empty = cls.empty(attributes)
        diagonal = np.eye(len(attributes), dtype=bool)
        given = replace(
            empty.layers[EvidenceKind.SCORES],
            value=np.where(diagonal, np.nan, strength),
            standard_error=np.where(diagonal, np.inf, standard_error),
        )
        layers = {**empty.layers, EvidenceKind.SCORES: given}
        return replace(empty, strength=np.where(diagonal, 0.0, strength), layers=layers)

    @cached_property
    def standard_error(self) -> NDArray[np.float64]:
        """float64 >= 0 [n, n] of scores and judgements together; infinite where there is no evidence."""
        return read_only(combined(*(self.layers[kind] for kind in FOLLOWED))[1])

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """float64 in [0, 1] [n, n], ``confidence_of(standard_error)``."""
        return read_only(confidence_of(self.standard_error))

    @cached_property
    def changed_version(self) -> NDArray[np.int64]:
        """int64 [n, n], version in which the edge last got scores or judgements; 0 if never."""
        judged, scored = self._judgements_and_scores
        return read_only(np.maximum(judged.version, scored.version))

    @cached_property
    def changed_step(self) -> NDArray[np.int64]:
        """int64 [n, n], training step of that push; -1 where no checkpoint was involved."""
        judged, scored = self._judgements_and_scores
        return read_only(np.where(self._judged_last, judged.step, scored.step))

    @cached_property
    def evidence(self) -> Ids:
        """Id [n][n] of the newest evidence behind the strength; "" where there is none."""
        judged, scored = (layer.evidence for layer in self._judgements_and_scores)
        n = len(self.attributes)
        return tuple(tuple((judged if self._judged_last[i, j] else scored)[i][j] for j in range(n)) for i in range(n))

    @property
    def weight(self) -> NDArray[np.float64]:
        """|strength| [n, n] in [0, 1]."""
        return np.abs(self.strength)

    @property
    def sign(self) -> NDArray[np.float64]:
        """-1, 0 or +1 [n, n]."""
        return np.sign(self.strength)

    # What each kind of evidence says by itself; more of it is in ``layers``.

    @property
    def scored(self) -> NDArray[np.float64]:
        """[n, n] by the scores of data images; NaN where unknown, as in the three below."""
        return self.layers[EvidenceKind.SCORES].value

    @property
    def scored_standard_error(self) -> NDArray[np.float64]:
        """[n, n] of ``scored``; infinite where unknown, as in the three below."""
        return self.layers[EvidenceKind.SCORES].standard_error

    @property
    def judged(self) -> NDArray[np.float64]:
        """[n, n] by the MLLM's judgement of the directed pair itself."""
        return self.layers[EvidenceKind.JUDGEMENTS].value

    @property
    def judged_standard_error(self) -> NDArray[np.float64]:
        """[n, n] of ``judged``."""
        return self.layers[EvidenceKind.JUDGEMENTS].standard_error

    @property
    def shown(self) -> NDArray[np.float64]:
        """[n, n] by the scores of decoded traversals: the change of the target as the source's node moves."""
        return self.layers[EvidenceKind.TRAVERSALS].value

    @property
    def shown_standard_error(self) -> NDArray[np.float64]:
        """[n, n] of ``shown``."""
        return self.layers[EvidenceKind.TRAVERSALS].standard_error

    @property
    def shown_step(self) -> NDArray[np.int64]:
        """[n, n], training step of the checkpoint behind ``shown``; -1 where there is none."""
        return self.layers[EvidenceKind.TRAVERSALS].step

    @property
    def shown_evidence(self) -> Ids:
        """Id [n][n] of the evidence behind ``shown``."""
        return self.layers[EvidenceKind.TRAVERSALS].evidence

    @property
    def sampled(self) -> NDArray[np.float64]:
        """[n, n] by the scores of images decoded from random codes: the statistic of the data, of the model."""
        return self.layers[EvidenceKind.SAMPLES].value

    @property
    def sampled_standard_error(self) -> NDArray[np.float64]:
        """[n, n] of ``sampled``."""
        return self.layers[EvidenceKind.SAMPLES].standard_error

    @property
    def sampled_step(self) -> NDArray[np.int64]:
        """[n, n], training step of the checkpoint behind ``sampled``; -1 where there is none."""
        return self.layers[EvidenceKind.SAMPLES].step

    def index(self, attribute: str) -> int:
        """Row and column of an attribute.

        Raises:
            GraphError: no such attribute
        """
        if attribute not in self.attributes:
            raise GraphError(f"attribute {attribute!r} is not in the graph; it knows {', '.join(self.attributes)}")
        return self.attributes.index(attribute)

    def check(self, push: Push, staleness: Staleness) -> tuple[Refusal, str] | None:
        """Why this version must not take the push, with the offending value; None where it may."""
        return refusal_of(push, self.attributes, self.version, staleness)

    def apply(self, push: Push, max_change: float) -> DisGraph:
        """The next version; the push must have passed ``check``.

        The layer of the push's kind takes its evidence as it came. Where that is evidence about the data, the strength
        of each edge the push names goes to the mean of scores and judgements weighed by precision, by at most
        ``max_change``. No edge changes that the push does not name.
        """
        entries = [
            (
                self.index(edge.source),
                self.index(edge.target),
                edge.strength,
                edge.standard_error,
                edge.num_observations,
            )
            for edge in push.edges
        ]
        version, step = self.version + 1, -1 if push.step is None else push.step
        layers = {**self.layers, push.kind: self.layers[push.kind].updated(entries, version, step, push.evidence_id)}
        if push.kind not in FOLLOWED:
            return replace(self, version=version, layers=layers)
        strength = self.strength.copy()
        wanted, _ = combined(*(layers[kind] for kind in FOLLOWED))
        for i, j, *_ in entries:
            strength[i, j] = min(max(wanted[i, j], strength[i, j] - max_change), strength[i, j] + max_change)
        return replace(self, version=version, strength=strength, layers=layers, scores=push.scores or self.scores)

    def restore(self, earlier: DisGraph) -> DisGraph:
        """The next version, with everything as in an earlier one; versions only go up, also in a rollback."""
        return replace(earlier, version=self.version + 1)

    def to_json(self) -> str:
        """The whole value in one line, floats to the last bit; the same value gives the same text."""
        return encode_graph(self)

    @classmethod
    def from_json(cls, text: str) -> DisGraph:
        """Read ``to_json``'s text, or that of schema 1, which gem_ray 0.1 wrote.

        Raises:
            GraphError: anything else, or values that break the rules of a graph
        """
        return decode_graph(text, cls)

    def digest(self) -> str:
        """Hex sha256 of ``to_json``: equal where every bit is, on every rank."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def _judgements_and_scores(self) -> tuple[Layer, Layer]:
        return self.layers[EvidenceKind.JUDGEMENTS], self.layers[EvidenceKind.SCORES]

    @property
    def _judged_last(self) -> NDArray[np.bool_]:
        judged, scored = self._judgements_and_scores
        return judged.version > scored.version
