"""What the gateway answers: the shapes of its JSON, and how scores, graphs and edges become them.

JSON knows neither NaN nor infinity: what is not known, or known with infinite error, is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.layers import confidence_of
from gem_ray.graph.relations import Relations
from gem_ray.messages.graph import EdgeRecord, EvidenceKind
from gem_ray.messages.questions import ScoreAnswer

Matrix = list[list[float | None]]


class AttributeScore(BaseModel):
    """How strongly one attribute shows: ``score`` in [0, 5], null where ``failure`` says why there is none."""

    attribute: str
    score: float | None
    probabilities: list[float] | None
    digit_mass: float
    failure: str | None


class Scores(BaseModel):
    """Scores of one image; ``model`` is the fingerprint of the MLLM that answered."""

    model: str
    scores: list[AttributeScore]


class Relation(BaseModel):
    """Source acts on target: Somers' D of target given source, in [-1, 1]."""

    source: str
    target: str
    strength: float
    standard_error: float | None
    confidence: float
    num_observations: int


class RelationTable(BaseModel):
    """Relations of every directed pair: of the images that were sent, or of the run's graph.

    ``version`` is that of the graph; ``model``, ``num_images`` and ``missing`` (questions without a usable answer)
    belong to images. The others are null.
    """

    basis: Literal["images", "graph"]
    version: int | None = None
    model: str | None = None
    num_images: int | None = None
    missing: int | None = None
    relations: list[Relation]


class GraphView(BaseModel):
    """One version of the DisGraph; matrices are indexed [source][target], ``evidence`` holds one for each kind."""

    version: int
    attributes: list[str]
    strength: Matrix
    standard_error: Matrix
    confidence: Matrix
    evidence: dict[str, Matrix]


class EdgeView(BaseModel):
    """One directed edge with what each kind of evidence says, its history (oldest first) and its newest evidence."""

    source: str
    target: str
    version: int
    strength: float
    standard_error: float | None
    confidence: float
    kinds: dict[str, dict[str, Any]]
    history: list[dict[str, Any]]
    evidence: list[dict[str, Any]]


class Health(BaseModel):
    """Whether the parts behind the gateway answer."""

    status: Literal["ok", "degraded"]
    graph: bool
    scorer: bool


def attribute_score(attribute: str, answer: ScoreAnswer) -> AttributeScore:
    """An answer that passed ``prompts.checked``."""
    return AttributeScore(
        attribute=attribute,
        score=answer.expectation,
        probabilities=None if answer.probabilities is None else list(answer.probabilities),
        digit_mass=answer.digit_mass,
        failure=answer.failure,
    )


def relation_list(attributes: Sequence[str], relations: Relations) -> list[Relation]:
    """All directed pairs of n attributes; arrays are [n, n]."""
    confidence = confidence_of(relations.standard_error)
    return [
        Relation(
            source=source,
            target=target,
            strength=float(relations.strength[i, j]),
            standard_error=finite(float(relations.standard_error[i, j])),
            confidence=float(confidence[i, j]),
            num_observations=int(relations.num_observations[i, j]),
        )
        for i, source in enumerate(attributes)
        for j, target in enumerate(attributes)
        if i != j
    ]


def graph_relations(graph: DisGraph, attributes: Sequence[str]) -> list[Relation]:
    """What the graph says of all directed pairs of some of its attributes."""
    rows = [graph.index(name) for name in attributes]
    part = np.ix_(rows, rows)
    layers = graph.layers
    observations = layers[EvidenceKind.SCORES].num_observations + layers[EvidenceKind.JUDGEMENTS].num_observations
    relations = Relations(
        strength=graph.strength[part], standard_error=graph.standard_error[part], num_observations=observations[part]
    )
    return relation_list(attributes, relations)


def graph_view(graph: DisGraph) -> GraphView:
    """The whole graph."""
    return GraphView(
        version=graph.version,
        attributes=list(graph.attributes),
        strength=_matrix(graph.strength),
        standard_error=_matrix(graph.standard_error),
        confidence=_matrix(graph.confidence),
        evidence={kind.value: _matrix(layer.value) for kind, layer in graph.layers.items()},
    )


def edge_view(
    graph: DisGraph, i: int, j: int, history: Sequence[EdgeRecord], evidence: Sequence[tuple[str, Mapping[str, Any]]]
) -> EdgeView:
    """One edge; ``evidence`` are (id, record) pairs as ``scoring.publisher`` wrote them, newest first."""
    source, target = graph.attributes[i], graph.attributes[j]
    return EdgeView(
        source=source,
        target=target,
        version=graph.version,
        strength=float(graph.strength[i, j]),
        standard_error=finite(float(graph.standard_error[i, j])),
        confidence=float(graph.confidence[i, j]),
        kinds={
            kind.value: {
                "value": finite(float(layer.value[i, j])),
                "standard_error": finite(float(layer.standard_error[i, j])),
                "num_observations": int(layer.num_observations[i, j]),
                "step": int(layer.step[i, j]) if layer.step[i, j] >= 0 else None,
                "version": int(layer.version[i, j]),
            }
            for kind, layer in graph.layers.items()
        },
        history=[_record_view(record) for record in history],
        evidence=[{"id": name, **_evidence_view(record, source, target)} for name, record in evidence],
    )


def _record_view(record: EdgeRecord) -> dict[str, Any]:
    return {
        "version": record.version,
        "time_s": record.time_s,
        "kind": None if record.kind is None else record.kind.value,
        "step": record.step,
        "evidence_id": record.evidence_id,
        "strength": finite(record.strength),
        "standard_error": finite(record.standard_error),
        "measured": None if record.measured is None else finite(record.measured),
        "num_observations": record.num_observations,
    }


def _evidence_view(record: Mapping[str, Any], source: str, target: str) -> dict[str, Any]:
    """What a record says in general, and of this edge; tables of every image and paths in storage stay inside."""
    plain = (str, int, float, type(None))
    view: dict[str, Any] = {key: value for key, value in record.items() if isinstance(value, plain)}
    view["cost"] = record.get("cost")
    names = record.get("attributes", [])
    if source in names and target in names:
        i, j = names.index(source), names.index(target)
        view |= {key: record[key][i][j] for key in ("strength", "standard_error") if key in record}
    answers = [a for a in record.get("answers", []) if (a.get("source"), a.get("target")) == (source, target)]
    if answers:
        view["answers"] = answers
    cleaned: dict[str, Any] = _clean(view)
    return cleaned


def finite(value: float) -> float | None:
    """The value, None where it is NaN or infinite."""
    return value if math.isfinite(value) else None


def _matrix(values: NDArray[np.floating]) -> Matrix:
    return [[finite(float(value)) for value in row] for row in values]


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return value
