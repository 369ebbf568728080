"""The relations of a trained model, to be read by people: who acts on whom, how strongly, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.graph.disgraph import DisGraph

SHOWN = 30


@dataclass(frozen=True)
class Relation:
    """One directed relation.

    Args:
        strength: signed, in [-1, 1]: Somers' D of the target given the source, by the MLLM
        standard_error: of the strength; infinite where there is no evidence
        confidence: in [0, 1]
        refined: what the model made of the strength in training, in [-1, 1]
    """

    source: str
    target: str
    strength: float
    standard_error: float
    confidence: float
    refined: float

    @property
    def sign(self) -> str:
        """``+``, ``-``, or ``0``."""
        return "+" if self.strength > 0 else "-" if self.strength < 0 else "0"

    def __str__(self) -> str:
        error = f"± {1.96 * self.standard_error:.2f}" if np.isfinite(self.standard_error) else "unknown"
        return (
            f"{self.source} acts on {self.target}: {self.strength:+.2f} ({error}), confidence {self.confidence:.2f}, "
            f"in the model {self.refined:+.2f}"
        )


class RelationGraph:
    """All relations of a model, strongest first: ``graph["male", "beard"]``, ``print(graph)``, ``for r in graph``."""

    def __init__(self, graph: DisGraph, refined: NDArray[np.floating]) -> None:
        self.disgraph = graph
        self.refined = np.array(refined, dtype=np.float64)
        self.refined.flags.writeable = False

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return self.disgraph.attributes

    @property
    def version(self) -> int:
        """Of the DisGraph that training used last."""
        return self.disgraph.version

    @property
    def strength(self) -> NDArray[np.float64]:
        """Signed strengths [K, K], [source, target]."""
        return self.disgraph.strength

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Confidences [K, K] in [0, 1]."""
        return self.disgraph.confidence

    def __getitem__(self, pair: tuple[str, str]) -> Relation:
        """The relation of (source, target).

        Raises:
            GraphError: an attribute that the graph does not know
        """
        source, target = (self.disgraph.index(name) for name in pair)
        return Relation(
            pair[0],
            pair[1],
            float(self.strength[source, target]),
            float(self.disgraph.standard_error[source, target]),
            float(self.confidence[source, target]),
            float(self.refined[source, target]),
        )

    def __iter__(self) -> Iterator[Relation]:
        """Every relation with another attribute, strongest first."""
        pairs = [(a, b) for a in self.attributes for b in self.attributes if a != b]
        return iter(sorted((self[pair] for pair in pairs), key=lambda relation: -abs(relation.strength)))

    def __len__(self) -> int:
        return len(self.attributes) * (len(self.attributes) - 1)

    def of(self, source: str) -> list[Relation]:
        """What an attribute acts on, strongest first.

        Raises:
            GraphError: an attribute that the graph does not know
        """
        self.disgraph.index(source)
        return [relation for relation in self if relation.source == source]

    def to_dict(self) -> list[dict[str, str | float]]:
        """Plain values, for a table or JSON."""
        return [asdict(relation) for relation in self]

    def __str__(self) -> str:
        relations = list(self)
        width = max(len(name) for name in self.attributes)
        lines = [f"DisGraph of {len(self.attributes)} attributes, version {self.version}"]
        lines.append(f"  {'source':>{width}}    {'target':<{width}}  strength   95 %  confidence  in the model")
        for relation in relations[:SHOWN]:
            error = f"±{1.96 * relation.standard_error:5.2f}" if np.isfinite(relation.standard_error) else " none "
            lines.append(
                f"  {relation.source:>{width}} -> {relation.target:<{width}}  {relation.strength:+8.2f} {error}"
                f"  {relation.confidence:10.2f}  {relation.refined:+12.2f}"
            )
        if len(relations) > SHOWN:
            lines.append(f"  and {len(relations) - SHOWN} weaker ones")
        return "\n".join(lines)

    __repr__ = __str__
