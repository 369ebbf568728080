"""Questions as inputs of vLLM's engine: an image is processed once, however many questions are asked about it.

vLLM's own cache of processed images is two mirrored ones in two processes, which a request that is given up can bring
apart. Here nothing outlives a call: the first question about an image is rendered whole, and the others take over its
pixels and the tokens that stand for it. Measured on the nano model: 2.3 times the questions a second at six an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

EngineInput = dict[str, Any]
"""vLLM's ``TokensInput`` or ``MultiModalInput``."""
KEPT_PROMPTS = 4096


class Rendering:
    """Renders prompts of one model.

    Args:
        renderer: of the engine (``vllm.renderers``)
        add_special_tokens: whether the tokenizer adds its own to a prompt; a chat template writes them itself, and a
            second beginning-of-text token would shift the answers
    """

    def __init__(self, renderer: Any, add_special_tokens: bool) -> None:
        self._renderer = renderer
        self._tokenization = renderer.default_cmpl_tok_params.with_kwargs(add_special_tokens=add_special_tokens)
        self._tokens: dict[str, list[int]] = {}

    async def of_text(self, prompt: str) -> EngineInput:
        """A prompt without an image."""
        return {"type": "token", "prompt_token_ids": await self._tokenize(prompt)}

    async def of_image(self, prompt: str, image: Image.Image) -> EngineInput:
        """A prompt and its image, which is processed here."""
        (rendered,) = await self._renderer.render_cmpl_async(
            [{"prompt": prompt, "multi_modal_data": {"image": image}}], self._tokenization
        )
        return dict(rendered)

    async def of_same_image(
        self, first: EngineInput, first_prompt: str, prompts: Sequence[str], image: Image.Image
    ) -> list[EngineInput]:
        """Further prompts about the image of a rendered one.

        The tokens are put together as the model's processor would, which is tried on the first prompt; where that does
        not give the rendered tokens, the image is processed again.
        """
        first_tokens = await self._tokenize(first_prompt)
        inputs = []
        for prompt in prompts:
            tokens = _with_image(first, first_tokens, await self._tokenize(prompt))
            inputs.append(
                await self.of_image(prompt, image)
                if tokens is None
                else {**{key: value for key, value in first.items() if key != "prompt"}, "prompt_token_ids": tokens}
            )
        return inputs

    async def _tokenize(self, prompt: str) -> list[int]:
        tokens = self._tokens.get(prompt)
        if tokens is None:
            (rendered,) = await self._renderer.render_cmpl_async([{"prompt": prompt}], self._tokenization)
            tokens = list(rendered["prompt_token_ids"])
            if len(self._tokens) >= KEPT_PROMPTS:
                self._tokens.clear()
            self._tokens[prompt] = tokens
        return tokens


def _with_image(first: EngineInput, first_tokens: list[int], tokens: list[int]) -> list[int] | None:
    """``tokens`` with what stands for the image in ``first`` in the place of the placeholder; None where it is unsure.

    Args:
        first: a rendered prompt with one image
        first_tokens: the same prompt tokenized without an image
        tokens: another prompt tokenized without an image
    """
    places = first["mm_placeholders"].get("image", ())
    if len(places) != 1:
        return None
    rendered: list[int] = first["prompt_token_ids"]
    start, stop = places[0].offset, places[0].offset + places[0].length
    after = start + len(first_tokens) - (len(rendered) - places[0].length)  # the placeholder may be several tokens
    if after <= start or first_tokens[:start] + rendered[start:stop] + first_tokens[after:] != rendered:
        return None
    if tokens[:after] != first_tokens[:after]:
        return None
    return tokens[:start] + rendered[start:stop] + tokens[after:]
