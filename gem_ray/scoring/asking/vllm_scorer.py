"""The MLLM behind the ``Scorer`` protocol: vLLM's AsyncLLM, read one digit at a time.

A question is one unconstrained request for a single token, of which only the probabilities of the digits are read (a
grammar would hide how much of the probability the digits have). Images go in as raw pixels, never as URLs.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

from PIL import Image

from gem_ray.errors import ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest, StripAnswer, StripRequest
from gem_ray.scoring.asking.calibration import grey_request
from gem_ray.scoring.asking.engine import start_engine, token_counts, within
from gem_ray.scoring.asking.engine_progress import Progress
from gem_ray.scoring.asking.engine_settings import prepare_environment
from gem_ray.scoring.asking.model_files import model_fingerprint, prompt_style, resolve_model
from gem_ray.scoring.asking.model_prompts import ModelPrompts, Refused, digit_tokens
from gem_ray.scoring.asking.prompts import PromptStyle, answer_from_logprobs, clean_description, missing
from gem_ray.scoring.asking.rendering import EngineInput, Rendering

log = logging.getLogger(__name__)
MAX_IMAGE_SIDE = 4096
MAX_DESCRIPTION_TOKENS = 24
SHUTDOWN_S = 5.0


class VLLMScorer:
    """A vision-language model in vLLM's asynchronous engine.

    Args:
        model: ``nano``, a folder, or a hub id
        min_digit_mass: with less probability than this on the six digits an answer is missing
        deadline_s: seconds one call may take; what is not answered by then is missing
        use_gpu: run on the GPU; otherwise on vLLM's CPU engine
        num_threads: OpenMP threads of the CPU engine
        tensor_parallel: GPUs over which the model is split
        max_model_len: longest prompt in tokens that memory is kept for; 0 takes what fits
        prefix_caching: compute what questions have in common at their beginning, the image, once

    Attributes:
        fingerprint: of the model, see ``model_files.model_fingerprint``

    Raises:
        ScorerError: the model does not exist, or vLLM cannot load it
    """

    def __init__(
        self,
        model: str,
        *,
        min_digit_mass: float,
        deadline_s: float,
        use_gpu: bool = False,
        num_threads: int = 1,
        tensor_parallel: int = 1,
        max_model_len: int = 0,
        prefix_caching: bool = True,
    ) -> None:
        self.model = resolve_model(model)
        self.min_digit_mass, self.deadline_s = min_digit_mass, deadline_s
        self._progress = Progress()
        began = time.monotonic()
        prepare_environment(self.model, use_gpu, num_threads)
        files = ThreadPoolExecutor(1, thread_name_prefix="fingerprint")
        hashed = files.submit(model_fingerprint, model)  # beside the load, which takes longer
        files.shutdown(wait=False)
        self.engine, self._sampling_type = start_engine(
            self.model, use_gpu, tensor_parallel, max_model_len, prefix_caching
        )
        self.style = prompt_style(self.model)
        try:
            self._prompts = self._load_prompts()
            hashed.result()
            self.fingerprint = model_fingerprint(model)  # again, since a hub's model may have come only now
        except (ScorerError, OSError, ValueError):
            self.shutdown()
            raise
        self._rendering = Rendering(self.engine.renderer, add_special_tokens=self.style is PromptStyle.NANO)
        log.info("vLLM serves %s after %.1f s", self.model, time.monotonic() - began)

    def _load_prompts(self) -> ModelPrompts:
        tokenizer = self.engine.get_tokenizer()
        if self.style is PromptStyle.NANO:
            return ModelPrompts(self.model, self.style, tokenizer)
        from transformers import AutoProcessor  # after the engine, whose plugin makes it importable everywhere

        processor = AutoProcessor.from_pretrained(self.model, trust_remote_code=False)
        return ModelPrompts(self.model, self.style, tokenizer, processor.apply_chat_template)

    @cached_property
    def _digit_tokens(self) -> dict[int, str]:
        return digit_tokens(self.engine.get_tokenizer())

    @cached_property
    def _one_digit(self) -> Any:
        # The exact log-probabilities of these tokens come back, whether or not they are among the likeliest.
        return self._sampling_type(
            max_tokens=1, temperature=0.0, logprob_token_ids=sorted(self._digit_tokens), detokenize=False
        )

    @cached_property
    def _few_words(self) -> Any:
        return self._sampling_type(max_tokens=MAX_DESCRIPTION_TOKENS, temperature=0.0)

    def prompt(self, request: Request) -> str:
        """The text of a question, image placeholder included, as this model wants it.

        Raises:
            Refused: see ``model_prompts.ModelPrompts.question``
        """
        return self._prompts.question(request)

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """See ``Scorer``; questions about one image share its prefix, so pass them together.

        Raises:
            ScorerError: the engine has died, or has answered none of them by the deadline
        """
        self._check_alive()
        until = asyncio.get_running_loop().time() + self.deadline_s
        answers: list[ScoreAnswer] = [missing("not_asked")] * len(requests)
        prompts: dict[int, str] = {}
        by_image: dict[tuple[bytes, int, int], list[int]] = {}
        texts: list[int] = []
        for index, request in enumerate(requests):
            try:
                prompts[index] = self.prompt(request)
                group = by_image.setdefault(_pixels(request), []) if isinstance(request, ScoreRequest) else texts
                group.append(index)
            except Refused as refused:
                answers[index] = missing(refused.reason)

        async def ask_text(index: int) -> None:
            rendered = await within(until, self._rendering.of_text(prompts[index]))
            answers[index] = await self._digit(rendered, until)

        async def ask_image(pixels: tuple[bytes, int, int], indices: list[int]) -> None:
            found = await self._about_image(pixels, [prompts[index] for index in indices], until)
            for index, answer in zip(indices, found, strict=True):
                answers[index] = answer

        await asyncio.gather(*map(ask_text, texts), *(ask_image(*group) for group in by_image.items()))
        if {answers[index].failure for index in chain(texts, *by_image.values())} == {"deadline"}:
            raise ScorerError(
                f"no answer from the vLLM engine of {self.model} within scoring.deadline_s={self.deadline_s:g} s; "
                "raise that where the model is slow, or lower scoring.batch_questions"
            )
        return [replace(answer, model=self.fingerprint) for answer in answers]

    async def describe(self, strips: Sequence[StripRequest]) -> list[StripAnswer]:
        """Name in a few words what changes along each strip; the words are cleaned, and never part of a score.

        Raises:
            ScorerError: the engine has died
        """
        self._check_alive()
        until = asyncio.get_running_loop().time() + self.deadline_s
        return list(await asyncio.gather(*(self._describe(strip, until) for strip in strips)))

    async def check_health(self) -> None:
        """Ask a real question about a grey image, or look at what is under way, behind which it would have to queue.

        Raises:
            ScorerError: no token came back within the deadline
        """
        self._check_alive()
        if self._progress.busy:
            return self._progress.check(self.deadline_s)
        (answer,) = await self.score([grey_request("male")])
        if answer.failure in {"engine", "no_token"}:
            raise ScorerError(f"the vLLM engine of {self.model} does not answer ({answer.failure})")

    def shutdown(self) -> None:
        """End the engine and its processes; nothing can be asked afterwards."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.shutdown(timeout=SHUTDOWN_S)

    def _check_alive(self) -> None:
        if self.engine.errored:
            raise ScorerError(f"the vLLM engine of {self.model} has died; its replica is about to be replaced")

    async def _about_image(
        self, pixels: tuple[bytes, int, int], prompts: Sequence[str], until: float
    ) -> list[ScoreAnswer]:
        """Answers about one image: the first question fills the prefix cache that the others read."""
        image = _image(*pixels)
        first = await within(until, self._rendering.of_image(prompts[0], image))
        answers = [await self._digit(first, until)]
        if isinstance(first, str):
            return answers * len(prompts)
        rest = await within(until, self._rendering.of_same_image(first, prompts[0], prompts[1:], image))
        if isinstance(rest, str):
            return answers + [missing(rest)] * (len(prompts) - 1)
        return answers + list(await asyncio.gather(*(self._digit(rendered, until) for rendered in rest)))

    async def _digit(self, rendered: EngineInput | str, until: float) -> ScoreAnswer:
        """The answer to a rendered question, or a missing one where it could not be rendered."""
        if isinstance(rendered, str):
            return missing(rendered)
        output = await within(until, self._generate(rendered, self._one_digit))
        if isinstance(output, str):
            return missing(output)
        if not output.outputs or not output.outputs[0].logprobs:
            return missing("no_token")
        logprobs = output.outputs[0].logprobs[0]
        digits = [(text, logprobs[token].logprob) for token, text in self._digit_tokens.items() if token in logprobs]
        prompt_tokens, cached_tokens = token_counts(output)
        answer = answer_from_logprobs(digits, self.min_digit_mass)
        return replace(answer, prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)

    async def _describe(self, strip: StripRequest, until: float) -> StripAnswer:
        try:
            prompt, image = self._prompts.description(strip.num_frames), _image(*_pixels(strip))
        except Refused as refused:
            return StripAnswer(text=None, failure=refused.reason, model=self.fingerprint)
        output: Any = await within(until, self._rendering.of_image(prompt, image))
        if not isinstance(output, str):
            output = await within(until, self._generate(output, self._few_words))
        if isinstance(output, str):
            return StripAnswer(text=None, failure=output, model=self.fingerprint)
        text = clean_description(output.outputs[0].text) if output.outputs else ""
        prompt_tokens, cached_tokens = token_counts(output)
        return StripAnswer(
            text=text or None,
            failure=None if text else "no_words",
            model=self.fingerprint,
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
        )

    async def _generate(self, rendered: EngineInput, sampling: Any) -> Any:
        with self._progress.request():
            return [output async for output in self.engine.generate(rendered, sampling, uuid.uuid4().hex)][-1]


def _pixels(request: ScoreRequest | StripRequest) -> tuple[bytes, int, int]:
    """Bytes, height and width of a request's image."""
    if not (0 < request.height <= MAX_IMAGE_SIDE and 0 < request.width <= MAX_IMAGE_SIDE):
        raise Refused("bad_image")
    if len(request.image) != request.height * request.width * 3:
        raise Refused("bad_image")
    return request.image, request.height, request.width


def _image(pixels: bytes, height: int, width: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), pixels)
