"""The MLLM behind the ``Scorer`` protocol: vLLM's AsyncLLM, read one digit at a time. Nothing else imports vllm.

A question is one unconstrained request for a single token, of which only the probabilities of the digits are read (a
grammar would hide how much of the probability the digits have). Images go in as raw pixels, never as URLs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from gem_ray.errors import ConfigError, ScorerError
from gem_ray.messages import ScoreAnswer, ScoreRequest
from gem_ray.scoring.model_files import prompt_style, resolve_model
from gem_ray.scoring.prompts import (
    ANSWER_PREFIX,
    DIGITS,
    PromptStyle,
    answer_from_logprobs,
    chat_messages,
    missing,
    nano_prompt,
    validate_attributes,
)

log = logging.getLogger(__name__)
NO_MEDIA_DOMAIN = "media.invalid"
MAX_IMAGE_SIDE = 4096
SHUTDOWN_S = 5.0
# vLLM's own choice is 128, and a prefix is cached in whole blocks only: 64 image tokens would never be.
CPU_BLOCK_SIZE = 32
NANO_CACHE_BYTES = 128 * 1024 * 1024  # 100,000 tokens, a thousand images


class Scorer(Protocol):
    """Answers questions about images."""

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        """One answer for each request, in order; one that cannot be had is missing, with a reason.

        Raises:
            ScorerError: the scorer as a whole cannot answer now; ask again later
        """
        ...


def prepare_environment(model: str, use_gpu: bool, num_threads: int) -> None:
    """Set what vLLM reads from the environment, here and in the processes it starts; settings of the user stand.

    Args:
        model: as ``resolve_model`` gave it
        use_gpu: leave the CPU engine's settings alone
        num_threads: OpenMP threads of the CPU engine
    """
    settings = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }
    if Path(model).is_dir():
        settings |= {"HF_HUB_OFFLINE": "1"}
    if not use_gpu and prompt_style(model) is not PromptStyle.NANO:
        settings |= {"VLLM_CPU_KVCACHE_SPACE": "4"}  # GiB; the default is most of the machine's memory
    if not use_gpu:
        settings |= {
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": str(num_threads),
            "TORCHDYNAMO_DISABLE": "1",  # the first request otherwise compiles for 4 to 16 s
            # AsyncLLM has its engine process either way; this spares the worker process below it (13 s of imports on a
            # busy machine), which the CPU engine starts only to bind OpenMP threads.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


class VLLMScorer:
    """A vision-language model in vLLM's asynchronous engine.

    Args:
        model: ``nano``, a folder, or a hub id
        min_digit_mass: with less probability than this on the six digits an answer is missing
        deadline_s: seconds one question may take
        use_gpu: run on the GPU; otherwise on vLLM's CPU engine
        num_threads: OpenMP threads of the CPU engine

    Raises:
        ScorerError: the model does not exist, or vLLM cannot load it
    """

    def __init__(
        self, model: str, *, min_digit_mass: float, deadline_s: float, use_gpu: bool = False, num_threads: int = 1
    ) -> None:
        self.model = resolve_model(model)
        self.min_digit_mass, self.deadline_s = min_digit_mass, deadline_s
        began = time.monotonic()
        prepare_environment(self.model, use_gpu, num_threads)
        self.engine, self._sampling_type = _start_engine(self.model, use_gpu)
        self.style = prompt_style(self.model)
        log.info("vLLM serves %s after %.1f s", self.model, time.monotonic() - began)

    @cached_property
    def _sampling(self) -> Any:
        # The exact log-probabilities of these tokens come back, whether or not they are among the likeliest.
        return self._sampling_type(
            max_tokens=1, temperature=0.0, logprob_token_ids=sorted(self._digit_tokens), detokenize=False
        )

    @cached_property
    def _digit_tokens(self) -> dict[int, str]:
        """Every token that reads as one of the six digits, with or without a blank before it."""
        tokenizer = self.engine.get_tokenizer()
        found: dict[int, str] = {}
        for digit in DIGITS:
            for text in (digit, f" {digit}", f"\u2581{digit}", f"\u0120{digit}"):
                token = tokenizer.convert_tokens_to_ids(text)
                if token is not None and token != tokenizer.unk_token_id:
                    found[int(token)] = digit
            encoded = tokenizer.encode(ANSWER_PREFIX + digit, add_special_tokens=False)
            found[int(encoded[-1])] = digit
        return found

    @cached_property
    def _processor(self) -> Any:
        from transformers import AutoProcessor  # after the engine, whose plugin makes it importable everywhere

        return AutoProcessor.from_pretrained(self.model, trust_remote_code=False)

    def prompt(self, attribute: str) -> str:
        """The text of a question, image placeholder included, as this model wants it."""
        if self.style is PromptStyle.NANO:
            return nano_prompt(attribute)
        text = self._processor.apply_chat_template(chat_messages(attribute), add_generation_prompt=True, tokenize=False)
        return str(text) + ANSWER_PREFIX

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreAnswer]:
        """See ``Scorer``; questions about one image share its prefix, so pass them together."""
        if self.engine.errored:
            raise ScorerError(f"the vLLM engine of {self.model} has died; its replica is about to be replaced")
        firsts: list[int] = []
        rest: list[int] = []
        seen: set[bytes] = set()
        for index, request in enumerate(requests):
            (rest if request.image in seen else firsts).append(index)
            seen.add(request.image)
        answers: list[ScoreAnswer] = [missing("not_asked")] * len(requests)
        # One question an image first: it fills the prefix cache that the others read.
        for wave in (firsts, rest):
            for index, answer in zip(wave, await asyncio.gather(*(self._ask(requests[index]) for index in wave))):
                answers[index] = answer
        return answers

    async def check_health(self) -> None:
        """Ask a real question about a grey image.

        Raises:
            ScorerError: no token came back within the deadline
        """
        if self.engine.errored:
            raise ScorerError(f"the vLLM engine of {self.model} has died")
        answer = await self._ask(
            ScoreRequest(image=bytes([128]) * (64 * 64 * 3), height=64, width=64, attribute="male")
        )
        if answer.failure in {"deadline", "engine"}:
            raise ScorerError(f"the vLLM engine of {self.model} does not answer ({answer.failure})")

    def shutdown(self) -> None:
        """End the engine and its processes; nothing can be asked afterwards."""
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.shutdown(timeout=SHUTDOWN_S)

    async def _ask(self, request: ScoreRequest) -> ScoreAnswer:
        try:
            (attribute,) = validate_attributes([request.attribute])
        except ConfigError:
            return missing("refused_name")
        if not (0 < request.height <= MAX_IMAGE_SIDE and 0 < request.width <= MAX_IMAGE_SIDE):
            return missing("bad_image")
        if len(request.image) != request.height * request.width * 3:
            return missing("bad_image")
        image = Image.frombytes("RGB", (request.width, request.height), request.image)
        prompt: dict[str, Any] = {"prompt": self.prompt(attribute), "multi_modal_data": {"image": image}}
        # A chat template writes the special tokens itself; a second beginning-of-text token would shift the answers.
        tokenization = {"add_special_tokens": self.style is PromptStyle.NANO}
        try:
            async with asyncio.timeout(self.deadline_s):
                outputs = self.engine.generate(
                    prompt, self._sampling, uuid.uuid4().hex, tokenization_kwargs=tokenization
                )
                output = [output async for output in outputs][-1]
        except TimeoutError:
            return missing("deadline")
        except self._engine_errors as error:
            log.warning("a question failed in the engine: %s: %s", type(error).__name__, error)
            return missing("engine")
        if not output.outputs or not output.outputs[0].logprobs:
            return missing("no_token")
        logprobs = output.outputs[0].logprobs[0]
        digits = [(text, logprobs[token].logprob) for token, text in self._digit_tokens.items() if token in logprobs]
        return answer_from_logprobs(digits, self.min_digit_mass)

    @cached_property
    def _engine_errors(self) -> tuple[type[Exception], ...]:
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        return (EngineDeadError, EngineGenerateError, ValueError, RuntimeError)


def _start_engine(model: str, use_gpu: bool) -> tuple[Any, Any]:
    """The engine and vLLM's SamplingParams type."""
    try:
        from vllm import SamplingParams
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise ScorerError(
            f"vLLM cannot be imported ({error}); install the extra 'cpu' or 'gpu' of gem-ray (see README.md)"
        ) from error
    arguments: dict[str, Any] = {
        "model": model,
        "limit_mm_per_prompt": {"image": 1},
        "enable_prefix_caching": True,
        "allowed_media_domains": [NO_MEDIA_DOMAIN],
        "trust_remote_code": False,
        "disable_log_stats": True,
        # vLLM 0.32 keeps processed images in two mirrored caches. A request that is given up on its way updates one of
        # them only, and every later question about that image comes back without a token.
        "mm_processor_cache_gb": 0,
        "use_tqdm_on_load": False,
    }
    if not use_gpu:
        arguments |= {"enforce_eager": True, "block_size": CPU_BLOCK_SIZE, "distributed_executor_backend": "uni"}
    if prompt_style(model) is PromptStyle.NANO:
        arguments |= {"kv_cache_memory_bytes": NANO_CACHE_BYTES}
    else:
        arguments |= {"max_model_len": -1}  # as long as memory allows; a question is far shorter
    try:
        return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments)), SamplingParams
    except (OSError, ValueError, RuntimeError) as error:
        raise ScorerError(
            f"vLLM cannot serve scoring.model={model!r}: {_cause(error)}; choose a vision-language model that vLLM "
            "supports, check memory, and see the engine's log above"
        ) from error


def _cause(error: Exception) -> str:
    """One line: pydantic, which checks vLLM's arguments, puts the cause in the middle of its message."""
    details = getattr(error, "errors", None)
    text = str(details()[0]["msg"]) if callable(details) else str(error)
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
