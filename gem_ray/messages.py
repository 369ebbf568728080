"""Frozen types that cross a process boundary. Plain values only: no torch, no ray, no configuration objects.

Everything here pickles by value between Ray processes; nothing here is ever read back from storage by pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """Ask for one attribute of one image.

    Args:
        image: raw RGB bytes, row by row, ``height * width * 3`` of them (never a URL, never an encoded file)
        attribute: name as in the DisGraph, already validated by ``scoring.asking.prompts.validate_attributes``
        wording: which paraphrase of the question, below ``scoring.asking.prompts.num_wordings``
    """

    image: bytes = field(repr=False)
    height: int
    width: int
    attribute: str
    wording: int = 0


class PairAspect(StrEnum):
    """What is asked about a directed pair; both are answered on the scale 0 to 5."""

    STRENGTH = "strength"  # 0: source has no bearing on target .. 5: it decides it
    SIGN = "sign"  # 0: source makes target less likely .. 5: more likely


@dataclass(frozen=True, kw_only=True)
class PairRequest:
    """Ask about the directed pair "source acts on target" itself, without an image.

    Args:
        target_first: which of the two names the question mentions first (position bias: both orders are asked)
    """

    source: str
    target: str
    aspect: PairAspect
    target_first: bool
    wording: int = 0


Request = ScoreRequest | PairRequest


@dataclass(frozen=True, kw_only=True)
class StripRequest:
    """Ask in open words what changes along a strip of frames; for naming only, never for a score.

    Args:
        image: raw RGB bytes of the whole strip, row by row, ``height * width * 3`` of them, frames from left to right
        num_frames: frames side by side in it
    """

    image: bytes = field(repr=False)
    height: int
    width: int
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class StripAnswer:
    """An open answer, already cleaned: only what ``scoring.asking.prompts.validate_attributes`` would let through.

    Args:
        text: a name of at most 64 characters; None where nothing usable came back
        failure: reason of a missing answer ("deadline", "not_for_this_model", "no_words", ...), None where there is one
        model: fingerprint of the MLLM that answered
    """

    text: str | None
    failure: str | None = None
    model: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreAnswer:
    """Digit probabilities of one question.

    Args:
        probabilities: of the digits 0..5, renormalised to sum 1; None where the answer could not be read
        digit_mass: probability that the model gave to the six digits together, in [0, 1]
        failure: reason of a missing answer ("deadline", "no_digit", ...), None where there is one
        model: fingerprint of the MLLM that answered, empty where the scorer has none
        prompt_tokens, cached_tokens: of the prompt, and how many of them the engine's prefix cache held
        stored: taken from the run's store of answers, nothing was asked
    """

    probabilities: tuple[float, ...] | None
    digit_mass: float
    failure: str | None = None
    model: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    stored: bool = False

    @property
    def expectation(self) -> float | None:
        """Mean digit in [0, 5], None for a missing answer."""
        if self.probabilities is None:
            return None
        return sum(digit * p for digit, p in enumerate(self.probabilities))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What questions have cost so far; asked = answered + failed + under_way at every moment.

    Args:
        asked: questions sent to the MLLM, each counted once however often it was tried; without those given up
        answered, failed: those of them that ended with a usable answer, and without
        under_way: those of them that have not ended
        stored: questions that the run's store of answers answered; not among ``asked``
        prompt_tokens, cached_tokens: of prompts, and how many of them the engine's prefix cache held
        seconds: during which at least one question was under way
        money: by the configured prices, in their currency
    """

    asked: int = 0
    answered: int = 0
    failed: int = 0
    under_way: int = 0
    stored: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    money: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RescorerStatus:
    """How far the rescorer is.

    Args:
        phase: "starting", "scan", "rounds" or "waiting" (the scorer does not answer)
        asked, missing: questions sent to the MLLM, and those of them without a usable answer
        images_scored: data images in the score table
        rounds: rounds finished after the initial scan
        questions_per_s: of the last finished scan or round
        digit_mass: mean probability on the digits over all answers, None before the first
        last_error: the newest failure in words, empty where there was none
        cost: of all questions since this rescorer started
        useful_changes: edges that pushes moved by more than their standard error
        budget_left: questions that may be asked this minute, None without a budget
        evicted: looks at the model that were given up, since the graph had moved on too far
    """

    phase: str
    asked: int
    missing: int
    images_scored: int
    rounds: int
    questions_per_s: float
    digit_mass: float | None
    last_error: str
    cost: Cost = Cost()
    useful_changes: int = 0
    budget_left: int | None = None
    evicted: int = 0
