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
from dataclasses import replace
from enum import StrEnum
from typing import Any

from gem_ray.errors import ConfigError
from gem_ray.messages.questions import PairAspect, PairRequest, ScoreAnswer

PROMPT_VERSION = "score-1"
"""Part of every evidence record and stored answer. Changes whenever the text of a prompt of the same style and wording
changes; a further wording leaves it as it is. A test holds the texts of this version by their hashes."""

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


_SCORE_QUESTIONS = (
    "Rate how strongly one attribute shows in this image, from 0 (absent) to 5 (as strong as it can be). "
    "Answer with one digit only.\nAttribute: {attribute}",
    "Look at this image. On a scale from 0 to 5, where 0 means that it cannot be seen at all and 5 that it could not "
    "be clearer, how visible is what is named below? Reply with a single digit.\nWhat to look for: {attribute}",
    "To what degree does this image show the following? Give one digit: 0 for not at all, 1 for a trace, 2 for a "
    "little, 3 for a medium degree, 4 for much, 5 for as much as possible.\nThe following: {attribute}",
)
# One text for each wording, aspect and mention order. "Directly" keeps effects through a third attribute out
# (arXiv 2310.15117: pairwise questions mix direct and indirect effects).
_PAIR_QUESTIONS = {
    PairAspect.STRENGTH: (
        (
            "Two attributes can be seen in a kind of picture. Rate how strongly the first directly acts on the second, "
            "from 0 (not at all) to 5 (it decides it). Answer with one digit only.\n"
            "How strongly does '{source}' directly act on '{target}'?",
            "Two attributes can be seen in a kind of picture. Rate how strongly the first directly depends on the "
            "second, from 0 (not at all) to 5 (it is decided by it). Answer with one digit only.\n"
            "How strongly does '{target}' directly depend on '{source}'?",
        ),
        (
            "Think of many pictures in which one attribute is made stronger and nothing else is touched. Say how much "
            "another one changes directly, as a digit from 0 (it stays as it is) to 5 (it follows entirely).\n"
            "When '{source}' is made stronger, how much does '{target}' change directly?",
            "Think of many pictures in which one attribute is made stronger and nothing else is touched. Say how much "
            "another one changes directly, as a digit from 0 (it stays as it is) to 5 (it follows entirely).\n"
            "How much does '{target}' change directly when '{source}' is made stronger?",
        ),
        (
            "Give one digit from 0 (nothing) to 5 (everything).\n"
            "How much does knowing only '{source}' of a picture directly tell about '{target}'?",
            "Give one digit from 0 (nothing) to 5 (everything).\n"
            "How much about '{target}' of a picture is directly told by knowing only '{source}'?",
        ),
    ),
    PairAspect.SIGN: (
        (
            "Two attributes can be seen in a kind of picture. Say whether the first directly makes the second less or "
            "more likely, from 0 (far less likely) to 5 (far more likely). Answer with one digit only.\n"
            "What does '{source}' directly do to '{target}'?",
            "Two attributes can be seen in a kind of picture. Say whether the first is directly made less or more "
            "likely by the second, from 0 (far less likely) to 5 (far more likely). Answer with one digit only.\n"
            "What is directly done to '{target}' by '{source}'?",
        ),
        (
            "Think of many pictures in which one attribute is made stronger and nothing else is touched. Say which way "
            "another one goes directly, as a digit from 0 (much weaker) to 5 (much stronger).\n"
            "When '{source}' is made stronger, which way does '{target}' go directly?",
            "Think of many pictures in which one attribute is made stronger and nothing else is touched. Say which way "
            "another one goes directly, as a digit from 0 (much weaker) to 5 (much stronger).\n"
            "Which way does '{target}' go directly when '{source}' is made stronger?",
        ),
        (
            "Give one digit from 0 (far less) to 5 (far more).\n"
            "Where '{source}' shows in a picture, is '{target}' directly less or more to be expected than elsewhere?",
            "Give one digit from 0 (far less) to 5 (far more).\n"
            "Is '{target}' directly less or more to be expected in a picture where '{source}' shows than elsewhere?",
        ),
    ),
}


def num_wordings(style: PromptStyle) -> int:
    """Paraphrases that a model of this style can be asked in, of scores and of pair judgements alike."""
    return len(_SCORE_QUESTIONS) if style is PromptStyle.CHAT else 1


def nano_prompt(attribute: str) -> str:
    """Prompt of the shipped model, in LLaVA's raw form."""
    return f"USER: {IMAGE_TOKEN}\nRate from 0 to 5: {attribute}\n{ANSWER_PREFIX}"


def chat_question(attribute: str, wording: int = 0) -> str:
    """Text of the user's turn for a capable chat model; the image stands before it."""
    return _SCORE_QUESTIONS[wording].format(attribute=attribute)


def pair_question(request: PairRequest, source: str, target: str) -> str:
    """Text of the user's turn about a directed pair, by its normalised names; the last line mentions one of them first.

    Each of the two orders has a sentence of its own, so that neither is a broken form of the other.
    """
    texts = _PAIR_QUESTIONS[request.aspect][request.wording]
    return texts[request.target_first].format(source=source, target=target)


def strip_question(num_frames: int) -> str:
    """Text of the user's turn about a strip of frames; the image stands before it."""
    return (
        f"This strip shows {num_frames} frames of one picture, from left to right, while a single property of it grows "
        "steadily. Name the property that grows in one to three words, such as a caption would. Answer with the name "
        "only."
    )


def chat_messages(question: str, with_image: bool = True) -> list[dict[str, Any]]:
    """Messages for a processor's chat template; append ``ANSWER_PREFIX`` to the text it gives where a digit is due."""
    image = [{"type": "image"}] if with_image else []
    return [{"role": "user", "content": [*image, {"type": "text", "text": question}]}]


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


def clean_description(text: str) -> str:
    """An open answer as a name that could be asked about: one line, allowed characters only; empty if nothing is left.

    What an image makes a model say is not to be trusted, so whatever is not on the positive list of attribute names is
    taken for a blank before anybody sees it.
    """
    lines = [line.strip() for line in unicodedata.normalize("NFKC", text).splitlines() if line.strip()]
    characters = (sign if _NAME.fullmatch(f"a{sign}") else " " for sign in (lines[0] if lines else ""))
    words = "".join(characters).split()
    name = " ".join(words).lstrip(" _'&+/.-")[:MAX_NAME_LENGTH]
    return name.rstrip(" _'&+/.-")


def special_texts(added_tokens: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """The added tokens of a tokenizer that no attribute name may hold, casefolded.

    Args:
        added_tokens: (text, whether the tokenizer calls it special); one that is not special counts too, unless it is
            a plain word or a run of blanks, with which some tokenizers merely extend their vocabulary
    """
    texts = ((_folded(text).strip(), special) for text, special in added_tokens)
    return frozenset(text for text, special in texts if text and (special or not text.isalpha()))


def holds_special(name: str, specials: Iterable[str]) -> bool:
    """Whether a name holds, or in some letter case is, the text of a special token; ``specials`` by ``special_texts``.

    A token made of letters alone, such as ``pad``, counts as a whole word, or "ipad" could not be asked about.
    """
    folded = _folded(name)
    words = set(re.split(r"[\W_]+", folded))
    return any(text in words if text.isalpha() else text in folded for text in specials)


def _folded(text: str) -> str:
    """Without letter case, compatibility forms, and the sign that SentencePiece writes for a blank."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2581", " ")


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


def checked(answer: ScoreAnswer) -> ScoreAnswer:
    """The answer, or a missing one where its numbers are no distribution over the digits."""
    mass_good = math.isfinite(answer.digit_mass) and 0.0 <= answer.digit_mass <= 1.0
    p = answer.probabilities
    good = mass_good
    if p is not None:
        good = good and len(p) == NUM_DIGITS and all(math.isfinite(value) and value >= 0 for value in p)
        good = good and abs(sum(p) - 1.0) < 1e-3
    if good:
        return answer
    return replace(answer, probabilities=None, digit_mass=0.0, failure=answer.failure or "bad_answer")
