"""Requests as prompts of one model: through its chat template, or in the words the shipped model knows.

This is also where a name is refused that one model's tokenizer would take for a special token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from gem_ray.errors import ConfigError, ScorerError
from gem_ray.messages.questions import PairRequest, Request, ScoreRequest
from gem_ray.scoring.asking.prompts import (
    ANSWER_PREFIX,
    DIGITS,
    PromptStyle,
    chat_messages,
    chat_question,
    holds_special,
    nano_prompt,
    num_wordings,
    pair_question,
    special_texts,
    strip_question,
    validate_attributes,
)


class Refused(Exception):
    """A request that no prompt is made of.

    Args:
        reason: as in ``ScoreAnswer.failure``
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ModelPrompts:
    """Prompts of one model.

    Args:
        model: folder or hub id, for error messages
        tokenizer: of the model, as transformers loads it
        apply_chat_template: of the model's processor; not called for the nano style

    Raises:
        ScorerError: a chat model without a chat template
    """

    def __init__(
        self, model: str, style: PromptStyle, tokenizer: Any, apply_chat_template: Callable[..., Any] | None = None
    ) -> None:
        self.style = style
        self._tokenizer = tokenizer
        self._template = apply_chat_template
        self._added = getattr(tokenizer, "added_tokens_decoder", {})
        added = [(str(token.content), bool(token.special)) for token in self._added.values()]
        self._specials = special_texts([*added, *((str(text), True) for text in tokenizer.all_special_tokens)])
        # A token for unknown characters is no command: such a name is only one that the model cannot read.
        self._special_ids = {number for number, token in self._added.items() if token.special} - {
            tokenizer.unk_token_id
        }
        self.holds_special = lru_cache(4096)(self._holds_special)
        self._chat = lru_cache(4096)(self._apply_template)
        if style is PromptStyle.CHAT:
            try:
                self._chat("?", True)
            except ValueError as error:
                raise ScorerError(
                    f"scoring.model={model!r} has no chat template ({error}); choose an instruction-tuned model, or "
                    "put its chat_template.jinja into the folder"
                ) from error

    def question(self, request: Request) -> str:
        """Prompt of a request, ending before the digit; an image stands where the model's placeholder is.

        Raises:
            Refused: a name that must not be asked about, a wording the model does not have, or a question of a kind
                that it cannot answer
        """
        if not 0 <= request.wording < num_wordings(self.style):
            raise Refused("unknown_wording")
        if isinstance(request, PairRequest):
            return self._pair(request)
        return self._attribute(request)

    def description(self, num_frames: int) -> str:
        """Prompt of the open question about a strip.

        Raises:
            Refused: the model answers in digits only
        """
        if self.style is PromptStyle.NANO:
            raise Refused("not_for_this_model")
        return self._chat(strip_question(num_frames), True)

    def _attribute(self, request: ScoreRequest) -> str:
        (attribute,) = self._names([request.attribute])
        if self.style is PromptStyle.NANO:
            return nano_prompt(attribute)
        return self._chat(chat_question(attribute, request.wording), True) + ANSWER_PREFIX

    def _pair(self, request: PairRequest) -> str:
        source, target = self._names([request.source, request.target])
        if self.style is PromptStyle.NANO:
            raise Refused("not_for_this_model")
        return self._chat(pair_question(request, source, target), False) + ANSWER_PREFIX

    def _names(self, names: Sequence[str]) -> tuple[str, ...]:
        try:
            valid = validate_attributes(names)
        except ConfigError:
            raise Refused("refused_name") from None
        if any(self.holds_special(name) for name in valid):
            raise Refused("refused_name")
        return valid

    def _holds_special(self, name: str) -> bool:
        """Whether this model's tokenizer reads a special token in a valid name."""
        if holds_special(name, self._specials):
            return True
        # What the texts cannot tell, such as a tokenizer that normalises before it looks for them.
        return any(
            not self._special_ids.isdisjoint(self._tokenizer.encode(text, add_special_tokens=False))
            for text in (name, f" {name}")
        )

    def _apply_template(self, question: str, with_image: bool) -> str:
        assert self._template is not None
        return str(self._template(chat_messages(question, with_image), add_generation_prompt=True, tokenize=False))


def digit_tokens(tokenizer: Any) -> dict[int, str]:
    """Every token that reads as one of the six digits, with or without a blank before it; number to digit."""
    found: dict[int, str] = {}
    for digit in DIGITS:
        for text in (digit, f" {digit}", f"\u2581{digit}", f"\u0120{digit}"):
            token = tokenizer.convert_tokens_to_ids(text)
            if token is not None and token != tokenizer.unk_token_id:
                found[int(token)] = digit
        encoded = tokenizer.encode(ANSWER_PREFIX + digit, add_special_tokens=False)
        found[int(encoded[-1])] = digit
    return found
