"""How old the graph behind a piece of work may be: the one place that says so.

The bound is counted in versions. What a checkpoint shows (traversals, samples) was decoded through the graph of that
checkpoint, and says little about a model that has since followed many others. What the data or the MLLM itself say
(scores, judgements) depends on no graph: it is based on whatever version is newest when it is pushed, so never stale.

    work on version b, graph at version v    a push that arrives    work that waits to be asked
    v - max_versions <= b <= v               admitted               kept
    b < v - max_versions                     refused (stale)        evicted: the store would refuse its result
    b > v                                    refused (ahead)        evicted: that version is not there

Versions only go up, so stale work never becomes fresh again: evicting it loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gem_ray.errors import GraphError
from gem_ray.messages.graph import EvidenceKind

OF_THE_MODEL = frozenset({EvidenceKind.TRAVERSALS, EvidenceKind.SAMPLES})
"""Kinds of evidence about a checkpoint, which age as training goes on."""


class Verdict(StrEnum):
    """What becomes of work."""

    ADMITTED = "admitted"
    STALE = "stale"
    AHEAD = "ahead"


@dataclass(frozen=True)
class Staleness:
    """The policy.

    Args:
        max_versions: how many versions the graph may have moved on since the one the work is based on

    Raises:
        GraphError: it is negative
    """

    max_versions: int

    def __post_init__(self) -> None:
        if self.max_versions < 0:
            raise GraphError(f"max_versions={self.max_versions} must not be negative")

    def verdict(self, base_version: int, version: int) -> Verdict:
        """Of work based on ``base_version`` while the graph is at ``version``; see the table above."""
        if base_version > version:
            return Verdict.AHEAD
        return Verdict.ADMITTED if version - base_version <= self.max_versions else Verdict.STALE

    def reason(self, base_version: int, version: int) -> str:
        """The rule in words with its numbers, for a refusal or an eviction."""
        return (
            f"computed on version {base_version}, the graph is at {version} and takes pushes at most "
            f"{self.max_versions} versions old"
        )

    @staticmethod
    def base_version(kind: EvidenceKind, decoded_through: int | None, newest: int) -> int:
        """The version a push of this kind is based on.

        Args:
            decoded_through: version of the graph in the checkpoint behind the evidence, None where there is none
            newest: version of the graph now

        Raises:
            GraphError: evidence about the model without the version of its checkpoint
        """
        if kind not in OF_THE_MODEL:
            return newest
        if decoded_through is None:
            raise GraphError(f"{kind.value} are those of a checkpoint: name the version of the graph in it")
        return decoded_through
