"""Questions to the MLLM, about an image, a pair of attributes or a strip of frames, and its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


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
