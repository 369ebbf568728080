"""vLLM's asynchronous engine: how it starts, and how its work and its errors are taken. Nothing else imports vllm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from functools import cache
from typing import Any, TypeVar

from gem_ray.errors import ScorerError
from gem_ray.scoring.asking.engine_settings import engine_arguments

T = TypeVar("T")
log = logging.getLogger(__name__)


def start_engine(
    model: str, use_gpu: bool, tensor_parallel: int, max_model_len: int, prefix_caching: bool
) -> tuple[Any, Any]:
    """The engine and vLLM's SamplingParams type."""
    try:
        from vllm import SamplingParams
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise ScorerError(
            f"vLLM cannot be imported ({error}); install the extra 'cpu' or 'gpu' of gem-ray (see README.md)"
        ) from error
    try:
        arguments = engine_arguments(model, use_gpu, tensor_parallel, max_model_len)
        arguments["enable_prefix_caching"] = prefix_caching
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


def token_counts(output: Any) -> tuple[int, int]:
    """Prompt tokens of a finished request, and how many of them the prefix cache held."""
    return len(output.prompt_token_ids or ()), int(output.num_cached_tokens or 0)


async def within(until: float, work: Awaitable[T]) -> T | str:
    """The result of some work in the engine, or the reason why there is none.

    Args:
        until: when it must be done, by the clock of the running loop
    """
    try:
        async with asyncio.timeout_at(until):
            return await work
    except TimeoutError:
        return "deadline"
    except _prompt_errors() as error:
        log.warning("the engine refused a question: %s: %s", type(error).__name__, error)
        return "bad_prompt"
    except _engine_errors() as error:
        log.warning("a question failed in the engine: %s: %s", type(error).__name__, error)
        return "engine"


@cache
def _prompt_errors() -> tuple[type[Exception], ...]:
    from vllm.exceptions import VLLMClientError

    return (VLLMClientError,)  # a prompt that is too long, for one: the same again is refused again


@cache
def _engine_errors() -> tuple[type[Exception], ...]:
    from vllm.exceptions import VLLMServerError

    return (VLLMServerError, ValueError, RuntimeError)
