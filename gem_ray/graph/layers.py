"""The evidence of one kind about every edge, and how two kinds of it are weighed against each other.

A layer says what one kind of evidence says and nothing else: scores never overwrite judgements, nor does what the model
shows overwrite what the data show. ``DisGraph`` holds one for each ``EvidenceKind``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.encoding import decode_array, decode_ids, decode_integers, encode_array

TYPICAL_STRENGTH = 0.3
"""Root mean square of the 30 Somers' D among the paper's six attributes in CelebA is .32."""
_FLOATS = ("value", "standard_error")
_INTEGERS = ("num_observations", "step", "version")

Ids = tuple[tuple[str, ...], ...]
Entry = tuple[int, int, float, float, int]
"""source, target, value, standard error and number of observations of one edge"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Evidence of one kind; arrays are read-only, [n, n], indexed [source, target].

    Args:
        value: float64 in [-1, 1], Somers' D(A_target | A_source) by this evidence; NaN where there is none
        standard_error: float64 >= 0 of the value; infinite where there is no evidence, or none that says anything
        num_observations: int64, images or answers behind the value
        step: int64, training step of the checkpoint behind it; -1 where no checkpoint was involved
        version: int64, of the graph in which the edge last got evidence of this kind; 0 if never
        evidence: id of the evidence; "" where there is none
    """

    value: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    num_observations: NDArray[np.int64]
    step: NDArray[np.int64]
    version: NDArray[np.int64]
    evidence: Ids

    def __post_init__(self) -> None:
        for name in _FLOATS + _INTEGERS:
            array = np.array(getattr(self, name), dtype=np.int64 if name in _INTEGERS else np.float64)
            object.__setattr__(self, name, read_only(array))

    @classmethod
    def unknown(cls, n: int) -> Layer:
        """No evidence about any of the n^2 edges."""
        return cls(
            value=np.full((n, n), np.nan),
            standard_error=np.full((n, n), np.inf),
            num_observations=np.zeros((n, n), dtype=np.int64),
            step=np.full((n, n), -1),
            version=np.zeros((n, n), dtype=np.int64),
            evidence=(("",) * n,) * n,
        )

    def updated(self, entries: Iterable[Entry], version: int, step: int, evidence_id: str) -> Layer:
        """The layer with new evidence about some edges, as it came."""
        arrays = {name: getattr(self, name).copy() for name in _FLOATS + _INTEGERS}
        ids = [list(row) for row in self.evidence]
        for i, j, value, standard_error, num_observations in entries:
            arrays["value"][i, j], arrays["standard_error"][i, j] = value, standard_error
            arrays["num_observations"][i, j] = num_observations
            arrays["step"][i, j], arrays["version"][i, j] = step, version
            ids[i][j] = evidence_id
        return Layer(**arrays, evidence=decode_ids(ids))

    def to_content(self) -> dict[str, Any]:
        """For JSON; the same layer gives the same content."""
        content: dict[str, Any] = {name: encode_array(getattr(self, name)) for name in _FLOATS}
        content |= {name: getattr(self, name).tolist() for name in _INTEGERS}
        return content | {"evidence": self.evidence}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Layer:
        """Read ``to_content``; ValueError, TypeError or KeyError for anything else."""
        arrays: dict[str, Any] = {name: decode_array(content.pop(name)) for name in _FLOATS}
        arrays |= {name: decode_integers(content.pop(name), name) for name in _INTEGERS}
        return cls(**arrays, evidence=decode_ids(content.pop("evidence")), **content)

    def fault(self, n: int) -> str | None:
        """What breaks the rules of a layer of n attributes; None for nothing. NaN fails every comparison."""
        for name in _FLOATS + _INTEGERS:
            if getattr(self, name).shape != (n, n):
                return f"{name} has the shape {getattr(self, name).shape}, not {(n, n)}"
        rows = self.evidence
        if len(rows) != n or any(len(row) != n or not all(isinstance(x, str) for x in row) for row in rows):
            return f"evidence must be {n} rows of {n} strings"
        known = ~np.isnan(self.value)
        if not (np.abs(self.value[known]) <= 1).all() or np.diag(known).any():
            return "a value is not in [-1, 1], or is there for an attribute and itself"
        if not (self.standard_error >= 0).all() or not np.isinf(self.standard_error[~known]).all():
            return "a standard error is negative, NaN, or finite where there is no value"
        if (self.num_observations < 0).any() or (self.step < -1).any() or (self.version < 0).any():
            return "a number of observations, step or version is out of range"
        return None


def combined(first: Layer, second: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of two layers' values, weighted by precision, and its standard error; all [n, n].

    With errors a and b the first gets the share (1/a^2) / (1/a^2 + 1/b^2) and the error is 1 / sqrt(1/a^2 + 1/b^2):
    the estimate of least variance where the two err independently. Where only one has a finite error the result is
    that one, to the last bit; where neither has, the value of the first that has any, else 0, with an infinite error.
    Only operations that IEEE 754 rounds correctly are used: a replay gives the same bits on any machine.
    """
    a, b = first.standard_error, second.standard_error
    first_is_better = a <= b
    small, large = np.minimum(a, b), np.maximum(a, b)
    # Of the errors' ratio, in [0, 1], so that nothing overflows; two exact values share alike.
    ratio = np.divide(small, large, out=np.ones_like(small), where=(large > 0) & np.isfinite(small))
    share = 1.0 / (1.0 + ratio * ratio)
    better = np.where(first_is_better, first.value, second.value)
    other = np.where(first_is_better, second.value, first.value)
    both = np.isfinite(large)
    value = np.where(both, better + (1.0 - share) * (other - better), better)
    error = np.where(both, small / np.sqrt(1.0 + ratio * ratio), small)
    value = np.where(np.isnan(value), second.value, value)
    return np.where(np.isnan(value), 0.0, np.clip(value, -1.0, 1.0)), error


def confidence_of(standard_error: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weight of the evidence against a prior of no relation: t^2 / (t^2 + se^2) with t = ``TYPICAL_STRENGTH``.

    This is the share that the data get in the posterior mean of a strength with prior N(0, t^2), measured with error
    se: 1 for an exact strength, 1/2 where the error is as large as a typical strength, 0 where there is no evidence.
    """
    return TYPICAL_STRENGTH**2 / (TYPICAL_STRENGTH**2 + np.square(np.asarray(standard_error, dtype=np.float64)))


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, locked."""
    array.setflags(write=False)
    return array
