"""How vLLM is set up: what it reads from the environment, and the arguments of its engine. Imports no vllm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gem_ray.scoring.asking.model_files import prompt_style
from gem_ray.scoring.asking.prompts import PromptStyle

NO_MEDIA_DOMAIN = "media.invalid"
# vLLM's own choice is 128, and a prefix is cached in whole blocks only: 64 image tokens would never be.
CPU_BLOCK_SIZE = 32
NANO_CACHE_BYTES = 128 * 1024 * 1024  # 100,000 tokens, a thousand images


def prepare_environment(model: str, use_gpu: bool, num_threads: int) -> None:
    """Set what vLLM reads from the environment, here and in the processes it starts; settings of the user stand,
    but for the one that would let an image's address lead elsewhere.

    Args:
        model: as ``resolve_model`` gave it
        use_gpu: leave the CPU engine's settings alone
        num_threads: OpenMP threads of the CPU engine
    """
    settings = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
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
    os.environ["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] = "0"


def engine_arguments(model: str, use_gpu: bool, tensor_parallel: int, max_model_len: int) -> dict[str, Any]:
    """Fields of vLLM's AsyncEngineArgs; the arguments are those of ``VLLMScorer``, the model is resolved."""
    nano = prompt_style(model) is PromptStyle.NANO
    arguments: dict[str, Any] = {
        "model": model,
        "limit_mm_per_prompt": {"image": 1},
        "allowed_media_domains": [NO_MEDIA_DOMAIN],
        "allowed_local_media_path": "",
        "enable_prompt_embeds": False,
        "enable_mm_embeds": False,
        "trust_remote_code": False,
        "disable_log_stats": True,
        # vLLM 0.32 keeps processed images in two mirrored caches. A request that is given up on its way updates one of
        # them only, and every later question about that image comes back without a token. ``Rendering`` does without.
        "mm_processor_cache_gb": 0,
        "use_tqdm_on_load": False,
        "tensor_parallel_size": tensor_parallel,
    }
    if not use_gpu:
        arguments |= {"enforce_eager": True, "block_size": CPU_BLOCK_SIZE}
    if not use_gpu and tensor_parallel == 1:
        arguments |= {"distributed_executor_backend": "uni"}
    if nano:
        arguments |= {"kv_cache_memory_bytes": NANO_CACHE_BYTES}
    if max_model_len or not nano:
        arguments |= {"max_model_len": max_model_len or -1}  # -1: as long as memory allows
    return arguments
