"""One image processed once: tokens of further questions, and doing it the slow way where that would be unsure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from gem_ray.scoring.asking.rendering import Rendering

IMAGE = Image.new("RGB", (4, 4))
PLACEHOLDER, PATCH, BREAK = 0, 900, 901


@dataclass(frozen=True)
class Place:
    """As vLLM's ``PlaceholderRange``."""

    offset: int
    length: int


@dataclass(frozen=True)
class Tokenization:
    add_special_tokens: bool = True

    def with_kwargs(self, add_special_tokens: bool) -> Tokenization:
        return Tokenization(add_special_tokens)


class Renderer:
    """Renders as vLLM does: a token a character, ``@`` for the image placeholder, and 999 in front.

    Args:
        expansion: tokens that stand for an image
        placeholder: text that is replaced by them
        joins: whether the text after an image is tokenized in another way than alone
    """

    def __init__(self, expansion: list[int], placeholder: str = "@", joins: bool = False) -> None:
        self.expansion, self.placeholder, self.joins = expansion, placeholder, joins
        self.default_cmpl_tok_params = Tokenization()
        self.images = self.texts = 0

    async def render_cmpl_async(self, prompts: list[dict[str, Any]], tokenization: Tokenization) -> list[Any]:
        (prompt,) = prompts
        head = [999] if tokenization.add_special_tokens else []
        if "multi_modal_data" not in prompt:
            self.texts += 1
            tokens = [PLACEHOLDER if sign == "@" else ord(sign) for sign in prompt["prompt"]]
            return [{"type": "token", "prompt_token_ids": head + tokens}]
        self.images += 1
        before, after = prompt["prompt"].split(self.placeholder)
        tokens = head + list(map(ord, before))
        place = Place(len(tokens), len(self.expansion))
        tail = list(map(ord, after))
        if self.joins:
            tail[0] += 500
        return [
            {
                "type": "multimodal",
                "prompt": prompt["prompt"],
                "prompt_token_ids": tokens + self.expansion + tail,
                "mm_kwargs": object(),
                "mm_placeholders": {"image": [place]},
            }
        ]


def render(renderer: Renderer, prompts: list[str], special: bool = True) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        rendering = Rendering(renderer, special)
        first = await rendering.of_image(prompts[0], IMAGE)
        return [first, *await rendering.of_same_image(first, prompts[0], prompts[1:], IMAGE)]

    return asyncio.run(work())


def alone(renderer: Renderer, prompt: str, special: bool = True) -> list[int]:
    tokens: list[int] = render(renderer, [prompt], special)[0]["prompt_token_ids"]
    return tokens


PROMPTS = ["ask @ male", "ask @ beard", "ask @ b"]


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("expansion", [[PATCH] * 64, [PATCH, BREAK, PATCH], [PLACEHOLDER] * 5, [PATCH]])
def test_further_questions_get_the_tokens_they_would_have_alone(expansion: list[int], special: bool) -> None:
    renderer = Renderer(expansion)
    rendered = render(renderer, PROMPTS, special)
    assert renderer.images == 1
    fresh = Renderer(expansion)
    assert [found["prompt_token_ids"] for found in rendered] == [alone(fresh, text, special) for text in PROMPTS]
    assert {id(found["mm_kwargs"]) for found in rendered} == {id(rendered[0]["mm_kwargs"])}
    assert "prompt" not in rendered[1]  # the text of the first question


def test_a_placeholder_of_several_tokens_is_taken_out_whole() -> None:
    renderer = Renderer([PATCH] * 9, placeholder="<@>")
    prompts = ["ask <@> male", "ask <@> beard"]
    rendered = render(renderer, prompts)
    assert renderer.images == 1
    assert rendered[1]["prompt_token_ids"] == alone(Renderer([PATCH] * 9, placeholder="<@>"), prompts[1])


def test_where_the_tokens_of_the_first_question_do_not_come_out_every_image_is_processed() -> None:
    renderer = Renderer([PATCH] * 9, joins=True)
    rendered = render(renderer, PROMPTS)
    assert renderer.images == 3
    assert [found["prompt_token_ids"] for found in rendered] == [
        alone(Renderer([PATCH] * 9, joins=True), text) for text in PROMPTS
    ]


def test_a_question_that_begins_otherwise_is_rendered_alone() -> None:
    renderer = Renderer([PATCH] * 9)
    rendered = render(renderer, ["ask @ male", "tell @ beard"])
    assert renderer.images == 2
    assert rendered[1]["prompt_token_ids"] == alone(Renderer([PATCH] * 9), "tell @ beard")


def test_a_text_is_tokenized_once() -> None:
    renderer = Renderer([PATCH])

    async def work() -> None:
        rendering = Rendering(renderer, True)
        for _ in range(3):
            assert (await rendering.of_text("ab"))["prompt_token_ids"] == [999, 97, 98]

    asyncio.run(work())
    assert renderer.texts == 1
