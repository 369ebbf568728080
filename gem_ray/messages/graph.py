"""What is said to and by the store of the DisGraph: evidence, pushes, and what became of an edge."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EvidenceKind(StrEnum):
    """Where the evidence behind an edge comes from."""

    SCORES = "scores"  # attribute scores of images of the data set: what the data show
    TRAVERSALS = "traversals"  # scores of decoded traversals: what the model shows
    SAMPLES = (
        "samples"  # scores of images decoded from random codes: what the model shows, by the statistic of the data
    )
    JUDGEMENTS = "judgements"  # the MLLM was asked about the directed pair itself


class Refusal(StrEnum):
    """Why the store did not apply a push."""

    STALE = "stale"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    SELF_LOOP = "self_loop"
    UNKNOWN_ATTRIBUTE = "unknown_attribute"
    DUPLICATE_EDGE = "duplicate_edge"
    EMPTY = "empty"
    MALFORMED = "malformed"
    UNAUTHORISED = "unauthorised"


@dataclass(frozen=True, kw_only=True)
class EdgeUpdate:
    """One directed edge "source acts on target".

    Args:
        strength: signed Somers' D of target given source, in [-1, 1]
        standard_error: of the strength, >= 0; infinity where it is not defined (a constant attribute)
        num_observations: images (or answers) behind the strength
    """

    source: str
    target: str
    strength: float
    standard_error: float
    num_observations: int


@dataclass(frozen=True, kw_only=True)
class ScoresRef:
    """A table of MLLM scores in the run's storage; ``sha256`` is that of the file's bytes."""

    uri: str
    sha256: str
    num_images: int


@dataclass(frozen=True, kw_only=True)
class Push:
    """A proposal to change edges, computed on graph version ``base_version``.

    Args:
        push_id: the same for every retry of one push; the store applies an id at most once
        kind: SCORES and JUDGEMENTS change the prior, TRAVERSALS and SAMPLES what the model shows
        step: training step of the checkpoint behind the evidence, None where no checkpoint was involved
        evidence_id: file name (under the run's ``evidence/``) of prompt, images and answers
        scores: the table of scores all edges of this push come from, None to keep the last one
    """

    push_id: str
    base_version: int
    kind: EvidenceKind
    edges: tuple[EdgeUpdate, ...]
    evidence_id: str
    step: int | None = None
    scores: ScoresRef | None = None


@dataclass(frozen=True, kw_only=True)
class PushReply:
    """The store's answer: ``refusal`` is None where the push is applied (now or by an earlier try)."""

    version: int
    applied: bool
    duplicate: bool = False
    refusal: Refusal | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class EdgeRecord:
    """One change in the history of an edge.

    Args:
        version: of the graph in which the edge got these values
        time_s: when, seconds since 1970
        kind: of the evidence; None for a rollback
        step: training step of the checkpoint behind the evidence, None where no checkpoint was involved
        strength: what training follows from this version on (all evidence about the data, after the clamp); for
            evidence about the model what it shows
        standard_error: of the strength
        measured: what this evidence itself said; None for a rollback
        num_observations: images (or answers) behind it, 0 for a rollback
    """

    version: int
    time_s: float
    kind: EvidenceKind | None
    step: int | None
    evidence_id: str
    strength: float
    standard_error: float
    num_observations: int
    measured: float | None = None


@dataclass(frozen=True, kw_only=True)
class EdgeChange:
    """An edge that differs between two versions: what training follows, and what each kind of evidence says.

    Args:
        scored, judged, shown, sampled: by scores, judgements, traversals and samples; NaN where not known
    """

    source: str
    target: str
    strength_before: float
    strength_after: float
    scored_before: float
    scored_after: float
    judged_before: float
    judged_after: float
    shown_before: float
    shown_after: float
    sampled_before: float
    sampled_after: float


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """What a running store says of itself; ``settings`` is the text of its GraphConfig and its key's fingerprint."""

    pid: int
    uri: str
    attributes: tuple[str, ...]
    version: int
    settings: str
