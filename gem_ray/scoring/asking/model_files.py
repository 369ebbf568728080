"""Where the MLLM's files are, what they are, and how the model wants to be asked; looked at before an engine starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.scoring.asking.prompts import PromptStyle, num_wordings
from gem_ray.scoring.checking.checks import checks_of, warning_about
from gem_ray.storage import Storage

NANO_FOLDER = Path(__file__).parents[1] / "nano"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DECIDING = {".json", ".txt", ".model", ".tiktoken", ".jinja", ".safetensors", ".bin", ".pt", ".pth", ".gguf"}
"""Endings of what vLLM and the processor read: weights, settings, vocabularies, templates; no README, no checks."""
_TEMPLATES = "additional_chat_templates/*.jinja"
_READERS = 4
_SHOWN_DIGITS = 16


def resolve_model(model: str) -> str:
    """Folder or hub id for vLLM.

    Raises:
        ScorerError: a folder that does not exist or holds no model, or a name that is neither folder nor hub id
    """
    folder = NANO_FOLDER if model == "nano" else Path(model).expanduser()
    if (folder / "config.json").is_file():
        return str(folder.resolve())
    if folder.is_dir():
        raise ScorerError(
            f"scoring.model={model!r}: the folder {folder.resolve()} has no config.json; give a folder that "
            "save_pretrained or jobs.pretrain_mllm wrote"
        )
    if _HUB_ID.fullmatch(model) is None:
        raise ScorerError(
            f"scoring.model={model!r} does not exist (looked in {folder.resolve()}); give 'nano', an existing folder, "
            "or a hub id such as 'Qwen/Qwen2.5-VL-3B-Instruct'"
        )
    return model


def model_fingerprint(model: str) -> str:
    """What tells two models apart, for evidence and for the cache of answers.

    Of a folder it is a hash of the files that decide an answer, which takes a second a gigabyte the first time in a
    process. Of a hub id it is the id and the revision in the cache of this machine; the id alone where there is none.

    Raises:
        ScorerError: see ``resolve_model``, or a file that cannot be read
    """
    resolved = Path(resolve_model(model))
    if not resolved.is_dir():
        revision = _cached_revision(model)
        return f"{model}-{revision[:_SHOWN_DIGITS]}" if revision else model
    digest = hashlib.sha256()
    try:
        found = [*(path for path in resolved.iterdir() if _DECIDING & set(path.suffixes)), *resolved.glob(_TEMPLATES)]
        names = sorted(str(path.relative_to(resolved)) for path in found if path.is_file())
        with ThreadPoolExecutor(_READERS) as pool:
            for name, content in zip(names, pool.map(lambda name: _content_hash(resolved / name), names), strict=True):
                digest.update(f"{name} {content}\n".encode())
    except OSError as error:
        raise ScorerError(f"scoring.model={model!r} cannot be read ({error}); check its permissions") from error
    return f"{resolved.name}-{digest.hexdigest()[:_SHOWN_DIGITS]}"


def _cached_revision(hub_id: str) -> str | None:
    """The commit of a model in the hub's cache; it stands for the files, of which machines may have different ones."""
    from huggingface_hub import try_to_load_from_cache  # brings an HTTP client, which few models need
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(hub_id, "config.json")
    except HFValidationError:
        return None  # vLLM says what is wrong with it
    return Path(config).parent.name if isinstance(config, str) else None


def _content_hash(path: Path) -> str:
    """The sha256 of a file; a large one in the hub's cache is a link to one that has it as its name."""
    target = path.resolve()
    if path.is_symlink() and _SHA256.fullmatch(target.name):
        return target.name
    state = target.stat()
    return _hash_of_state(target, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_of_state(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def prompt_style(model: str) -> PromptStyle:
    """How a resolved model wants to be asked."""
    config = Path(model) / "config.json"
    if not config.is_file():
        return PromptStyle.CHAT
    return PromptStyle(json.loads(config.read_text()).get("gem_ray_prompt", PromptStyle.CHAT.value))


def check_questions(config: ScoringConfig) -> None:
    """Refuse questions that the model cannot be asked.

    Raises:
        ConfigError: more wordings than there are for it, or judgements of the shipped model
        ScorerError: the model does not exist
    """
    style = prompt_style(resolve_model(config.model))
    if config.wordings > num_wordings(style):
        raise ConfigError(
            f"scoring.wordings={config.wordings}: {config.model} can be asked in {num_wordings(style)}; lower it"
        )
    if config.judgements and style is PromptStyle.NANO:
        raise ConfigError(
            f"scoring.judgements=true: {config.model} knows single attributes of faces only and cannot judge a pair; "
            "turn it off, or choose a capable model with mllm= or scoring.model="
        )


def unfit_for(
    model: str, data_source: str, attributes: Sequence[str] | None = None, checks: Storage | None = None
) -> str | None:
    """Why a model's answers about such data mean nothing; None where no check says so.

    Args:
        data_source: ``source`` of the manifest
        attributes: those of the run, None for all
        checks: folder ``check.output`` of ``jobs.check_mllm``, beside the checks that are shipped with a model
    """
    folder = Path(resolve_model(model))
    found = checks_of(model_fingerprint(model), folder if folder.is_dir() else None, checks)
    return warning_about(found, model, data_source, attributes)
