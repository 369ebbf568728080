"""What the MLLM is asked, which names may be asked about, and how its digit probabilities become an answer.

Pure: no ray, no vllm, no transformers. The image stands first and the attribute last, so that all questions about one
image share a prefix that the engine computes once; the text ends in "Score: ", so that the next token is the digit
(G-Eval, arXiv 2303.16634: the score is the expectation over the digit tokens, not the most likely one).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from gem_ray.errors import ConfigError
from gem_ray.messages import ScoreAnswer

PROMPT_VERSION = "score-1"
"""Part of every evidence record: changes whenever a prompt below changes."""

DIGITS = ("0", "1", "2", "3", "4", "5")
NUM_DIGITS = len(DIGITS)
ANSWER_PREFIX = "Score: "
MAX_NAME_LENGTH = 64
IMAGE_TOKEN = "<image>"

# A positive list of characters: letters and digits of any script, and what names such as "5 o'clock shadow" need.
_NAME = re.compile(r"[^\W_](?:[^\W_]|[ _'&+/.-])*", re.UNICODE)


class PromptStyle(StrEnum):
    """How a question is worded; a model's ``config.json`` names it under ``gem_ray_prompt``, without it is CHAT."""

    NANO = "nano"  # the shipped model: the few words it was trained on
    CHAT = "chat"  # an instruction-following model, through its own chat template


def nano_prompt(attribute: str) -> str:
    """Prompt of the shipped model, in LLaVA's raw form."""
    return f"USER: {IMAGE_TOKEN}\nRate from 0 to 5: {attribute}\n{ANSWER_PREFIX}"


def chat_question(attribute: str) -> str:
    """Text of the user's turn for a capable chat model; the image stands before it."""
    return (
        "Rate how strongly one attribute shows in this image, from 0 (absent) to 5 (as strong as it can be). "
        f"Answer with one digit only.\nAttribute: {attribute}"
    )


def chat_messages(attribute: str) -> list[dict[str, Any]]:
    """Messages for a processor's chat template; append ``ANSWER_PREFIX`` to the text it gives."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": chat_question(attribute)}]}]


def validate_attributes(names: Sequence[str]) -> tuple[str, ...]:
    """The names as they will be asked about: NFKC, outer blanks removed.

    Args:
        names: attribute names as a user wrote them

    Returns:
        tuple[str, ...]: the same names, normalised, in the same order

    Raises:
        ConfigError: for a name that is empty, doubled, too long, or holds characters (line breaks, ``<``, ``|``, ``[``
            and the like) that could form a special or placeholder token of some model; the name is in the message
    """
    valid: list[str] = []
    for name in names:
        normal = _validate_name(name)
        if normal.casefold() in (other.casefold() for other in valid):
            raise ConfigError(f"attribute {name!r} is named twice in {list(names)}; give every attribute once")
        valid.append(normal)
    return tuple(valid)


def _validate_name(name: str) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"attribute {name!r} is not text; write it in quotes")
    normal = unicodedata.normalize("NFKC", name).strip(" ")
    if not normal:
        raise ConfigError(f"attribute {name!r} is empty; give it a name or leave it out")
    if len(normal) > MAX_NAME_LENGTH:
        raise ConfigError(
            f"attribute {name[:80]!r} has {len(normal)} characters; at most {MAX_NAME_LENGTH} are allowed: shorten it"
        )
    if _NAME.fullmatch(normal) is None:
        strange = sorted({character for character in normal if _NAME.fullmatch(f"a{character}") is None})
        raise ConfigError(
            f"attribute {name!r} holds {strange or 'a sign at its start'}; use letters, digits, blanks and "
            "_ ' & + / . - only, beginning with a letter or digit (other signs can form a model's special tokens)"
        )
    return normal


def missing(reason: str, digit_mass: float = 0.0) -> ScoreAnswer:
    """A missing answer: never a zero."""
    return ScoreAnswer(probabilities=None, digit_mass=digit_mass, failure=reason)


def answer_from_logprobs(tokens: Iterable[tuple[str, float]], min_digit_mass: float) -> ScoreAnswer:
    """Turn the top log-probabilities of the next token into digit probabilities.

    Args:
        tokens: (text of the token, natural log of its probability) pairs; tokens that differ by blanks only add up
        min_digit_mass: with less probability than this on the six digits the answer is missing

    Returns:
        ScoreAnswer: probabilities renormalised over the digits, and the mass they had before
    """
    mass = [0.0] * NUM_DIGITS
    for text, logprob in tokens:
        # SentencePiece writes the leading blank as U+2581 where a single token is decoded.
        digit = text.strip(" \t\n\u2581\u0120")
        if digit in DIGITS and not math.isnan(logprob):
            mass[DIGITS.index(digit)] += math.exp(min(logprob, 0.0))
    total = sum(mass)
    if total <= 0.0:
        return missing("no_digit")
    if total < min_digit_mass:
        return missing("low_digit_mass", min(total, 1.0))
    return ScoreAnswer(probabilities=tuple(value / total for value in mass), digit_mass=min(total, 1.0))
