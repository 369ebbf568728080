"""DisGraph: named attributes and the directed, signed, weighted relations between them (GEM paper, section 3.2).

A frozen value. ``check`` says why a push must not change it, ``apply`` gives the next version; neither touches
storage, the clock or Ray, so that a journal of pushes replays to the same bits anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import GraphError
from gem_ray.messages import EdgeChange, EdgeUpdate, EvidenceKind, Push, Refusal, ScoresRef

SCHEMA = 1
TYPICAL_STRENGTH = 0.3
"""Root mean square of the 30 Somers' D among the paper's six attributes in CelebA is .32."""
_INTEGERS = ("changed_version", "changed_step", "shown_step")
_FLOATS = ("strength", "standard_error", "confidence", "shown", "shown_standard_error")
_IDS = ("evidence", "shown_evidence")
_PRIOR = ("strength", "standard_error", "changed_step", "evidence")
_SHOWN = ("shown", "shown_standard_error", "shown_step", "shown_evidence")

Ids = tuple[tuple[str, ...], ...]


def confidence_of(standard_error: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weight of the evidence against a prior of no relation: t^2 / (t^2 + se^2) with t = ``TYPICAL_STRENGTH``.

    This is the share that the data get in the posterior mean of a strength with prior N(0, t^2), measured with error
    se: 1 for an exact strength, 1/2 where the error is as large as a typical strength, 0 where there is no evidence.
    """
    return TYPICAL_STRENGTH**2 / (TYPICAL_STRENGTH**2 + np.square(np.asarray(standard_error, dtype=np.float64)))


@dataclass(frozen=True, kw_only=True, eq=False)
class DisGraph:
    """One version of the graph. Arrays are read-only, [n, n], indexed [source, target]; compare by ``digest``.

    Args:
        strength: float64 in [-1, 1], Somers' D(A_target | A_source), what training follows; 0 on the diagonal
        standard_error: float64 >= 0 of the strength; infinite where there is no evidence
        confidence: float64 in [0, 1], ``confidence_of(standard_error)``
        changed_version: int64, version in which the strength was last pushed; 0 if never
        changed_step: int64, training step of that push; -1 where no checkpoint was involved
        evidence: id of the evidence behind the strength; "" where there is none
        shown: float64 in [-1, 1], the relation that the model's own traversals show; NaN where unknown
        shown_standard_error, shown_step, shown_evidence: as above, of ``shown``
        scores: the table of scores the strengths come from, None before the first scan
    """

    attributes: tuple[str, ...]
    version: int
    strength: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    confidence: NDArray[np.float64]
    changed_version: NDArray[np.int64]
    changed_step: NDArray[np.int64]
    evidence: Ids
    shown: NDArray[np.float64]
    shown_standard_error: NDArray[np.float64]
    shown_step: NDArray[np.int64]
    shown_evidence: Ids
    scores: ScoresRef | None = None

    def __post_init__(self) -> None:
        for name in _FLOATS + _INTEGERS:
            array = np.array(getattr(self, name), dtype=np.int64 if name in _INTEGERS else np.float64)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        fault = _fault_of_shape(self) or _fault_of_values(self)
        if fault:
            raise GraphError(f"not a DisGraph: {fault}")

    @classmethod
    def empty(cls, attributes: tuple[str, ...]) -> DisGraph:
        """Version 0 without any evidence."""
        n = len(attributes)
        return cls.from_strength(attributes, np.zeros((n, n)), np.full((n, n), np.inf))

    @classmethod
    def from_strength(
        cls, attributes: tuple[str, ...], strength: NDArray[np.floating], standard_error: NDArray[np.floating]
    ) -> DisGraph:
        """Version 0 with the strengths given (Relations' arrays fit); the diagonal is ignored."""
        n = len(attributes)
        diagonal = np.eye(n, dtype=bool)
        error = np.where(diagonal, np.inf, standard_error)
        return cls(
            attributes=tuple(attributes),
            version=0,
            strength=np.where(diagonal, 0.0, strength),
            standard_error=error,
            confidence=confidence_of(error),
            changed_version=np.zeros((n, n), dtype=np.int64),
            changed_step=np.full((n, n), -1),
            evidence=(("",) * n,) * n,
            shown=np.full((n, n), np.nan),
            shown_standard_error=np.full((n, n), np.inf),
            shown_step=np.full((n, n), -1),
            shown_evidence=(("",) * n,) * n,
        )

    @property
    def weight(self) -> NDArray[np.float64]:
        """|strength| [n, n] in [0, 1]."""
        return np.abs(self.strength)

    @property
    def sign(self) -> NDArray[np.float64]:
        """-1, 0 or +1 [n, n]."""
        return np.sign(self.strength)

    def index(self, attribute: str) -> int:
        """Row and column of an attribute.

        Raises:
            GraphError: no such attribute
        """
        if attribute not in self.attributes:
            raise GraphError(f"attribute {attribute!r} is not in the graph; it knows {', '.join(self.attributes)}")
        return self.attributes.index(attribute)

    def check(self, push: Push, max_staleness: int) -> tuple[Refusal, str] | None:
        """Why this version must not take the push, with the offending value; None where it may."""
        if not push.edges:
            return Refusal.EMPTY, "the push has no edge"
        age = self.version - push.base_version
        if age > max_staleness or age < 0:
            return (
                Refusal.STALE,
                f"computed on version {push.base_version}, the graph is at {self.version} and takes pushes at most "
                f"{max_staleness} versions old",
            )
        if push.step is not None and push.step < 0:
            return Refusal.OUT_OF_RANGE, f"step {push.step} is negative"
        seen: set[tuple[str, str]] = set()
        for edge in push.edges:
            fault = self._check_edge(edge)
            if fault:
                return fault
            if (edge.source, edge.target) in seen:
                return Refusal.DUPLICATE_EDGE, f"{edge.source} -> {edge.target} is there twice"
            seen.add((edge.source, edge.target))
        return None

    def _check_edge(self, edge: EdgeUpdate) -> tuple[Refusal, str] | None:
        name = f"{edge.source} -> {edge.target}"
        for attribute in (edge.source, edge.target):
            if attribute not in self.attributes:
                return Refusal.UNKNOWN_ATTRIBUTE, f"{attribute!r}; the graph knows {', '.join(self.attributes)}"
        if edge.source == edge.target:
            return Refusal.SELF_LOOP, name
        if not math.isfinite(edge.strength) or math.isnan(edge.standard_error):
            return Refusal.NOT_FINITE, f"{name}: strength {edge.strength}, standard error {edge.standard_error}"
        if abs(edge.strength) > 1 or edge.standard_error < 0 or edge.num_observations < 0:
            return (
                Refusal.OUT_OF_RANGE,
                f"{name}: strength {edge.strength} must lie in [-1, 1], standard error {edge.standard_error} and "
                f"observations {edge.num_observations} must not be negative",
            )
        return None

    def apply(self, push: Push, max_change: float) -> DisGraph:
        """The next version; the push must have passed ``check``.

        Evidence about the data changes a strength by at most ``max_change``; evidence from traversals is a measurement
        of the model and replaces what is shown as it is.
        """
        of_model = push.kind is EvidenceKind.TRAVERSALS
        value_name, error_name, step_name, ids_name = _SHOWN if of_model else _PRIOR
        value, error, step = (getattr(self, name).copy() for name in (value_name, error_name, step_name))
        ids = [list(row) for row in getattr(self, ids_name)]
        changed_version = self.changed_version.copy()
        for edge in push.edges:
            i, j = self.attributes.index(edge.source), self.attributes.index(edge.target)
            old = value[i, j]
            value[i, j] = edge.strength if of_model else min(max(edge.strength, old - max_change), old + max_change)
            error[i, j] = edge.standard_error
            step[i, j] = -1 if push.step is None else push.step
            ids[i][j] = push.evidence_id
            changed_version[i, j] = self.version + 1
        changes: dict[str, Any] = {value_name: value, error_name: error, step_name: step, ids_name: _freeze(ids)}
        if not of_model:
            changes |= {
                "confidence": confidence_of(error),
                "changed_version": changed_version,
                "scores": push.scores or self.scores,
            }
        return replace(self, version=self.version + 1, **changes)

    def restore(self, earlier: DisGraph) -> DisGraph:
        """The next version, with everything as in an earlier one; versions only go up, also in a rollback."""
        return replace(earlier, version=self.version + 1)

    def changes_to(self, other: DisGraph) -> tuple[EdgeChange, ...]:
        """Edges whose strength, or what is shown of it, differs in the other version."""
        differs = (self.strength != other.strength) | ~np.isclose(
            self.shown, other.shown, rtol=0, atol=0, equal_nan=True
        )
        return tuple(
            EdgeChange(
                source=self.attributes[i],
                target=self.attributes[j],
                strength_before=float(self.strength[i, j]),
                strength_after=float(other.strength[i, j]),
                shown_before=float(self.shown[i, j]),
                shown_after=float(other.shown[i, j]),
            )
            for i, j in np.argwhere(differs)
        )

    def to_json(self) -> str:
        """The whole value in one line, floats to the last bit; the same value gives the same text."""
        content: dict[str, Any] = {"schema": SCHEMA, "attributes": self.attributes, "version": self.version}
        for name in _FLOATS:
            content[name] = [[encode_float(x) for x in row] for row in getattr(self, name).tolist()]
        for name in _INTEGERS:
            content[name] = getattr(self, name).tolist()
        for name in _IDS:
            content[name] = getattr(self, name)
        content["scores"] = None if self.scores is None else asdict(self.scores)
        return json.dumps(content, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> DisGraph:
        """Read ``to_json``'s text.

        Raises:
            GraphError: anything else, or values that break the rules of a graph
        """
        try:
            content = json.loads(text, parse_constant=_refuse_constant)
            if content.pop("schema") != SCHEMA:
                raise ValueError(f"it is not of schema {SCHEMA}")
            for name in _FLOATS:
                content[name] = [[decode_float(x) for x in row] for row in content[name]]
            for name in _INTEGERS:
                content[name] = np.array(content[name])
                if content[name].dtype.kind != "i":
                    raise ValueError(f"{name} must hold whole numbers")
            for name in _IDS:
                content[name] = _freeze(content[name])
            content["attributes"] = tuple(content["attributes"])
            content["scores"] = None if content["scores"] is None else ScoresRef(**content["scores"])
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise GraphError(f"not the text of a DisGraph: {type(error).__name__}: {error}") from error

    def digest(self) -> str:
        """Hex sha256 of ``to_json``: equal where every bit is, on every rank."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def encode_float(x: float) -> float | str | None:
    """A float for strict JSON: NaN (unknown) as null, infinity as a string."""
    if math.isnan(x):
        return None
    return x if math.isfinite(x) else str(x)


def decode_float(x: float | str | None) -> float:
    """Inverse of ``encode_float``; ValueError or TypeError for anything it does not write."""
    if x is None:
        return math.nan
    if isinstance(x, bool) or (isinstance(x, str) and x not in {"inf", "-inf"}):
        raise ValueError(f"{x!r} is not a number")
    return float(x)


def _freeze(ids: list[list[str]]) -> Ids:
    return tuple(tuple(row) for row in ids)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _fault_of_shape(graph: DisGraph) -> str | None:
    """What is wrong with names, version and shapes; None for nothing."""
    n = len(graph.attributes)
    if n < 2 or len(set(graph.attributes)) != n or not all(isinstance(a, str) and a for a in graph.attributes):
        return f"attributes {list(graph.attributes)} must be two or more different names"
    if isinstance(graph.version, bool) or not isinstance(graph.version, int) or graph.version < 0:
        return f"version {graph.version!r} must be a whole number from 0"
    for name in _FLOATS + _INTEGERS:
        if getattr(graph, name).shape != (n, n):
            return f"{name} has the shape {getattr(graph, name).shape}, not {(n, n)}"
    for name in _IDS:
        rows = getattr(graph, name)
        if len(rows) != n or any(len(row) != n or not all(isinstance(x, str) for x in row) for row in rows):
            return f"{name} must be {n} rows of {n} strings"
    return None


def _fault_of_values(graph: DisGraph) -> str | None:
    """Which array breaks its range; None for none. A comparison with NaN is false, so NaN fails where it must."""
    if not (np.abs(graph.strength) <= 1).all() or np.diag(graph.strength).any():
        return "a strength is not in [-1, 1], or not 0 on the diagonal"
    if (np.abs(graph.shown) > 1).any():
        return "a shown strength is not in [-1, 1]"
    if not ((graph.standard_error >= 0).all() and (graph.shown_standard_error >= 0).all()):
        return "a standard error is negative or NaN"
    if not ((graph.confidence >= 0) & (graph.confidence <= 1)).all():
        return "a confidence is not in [0, 1]"
    return None
