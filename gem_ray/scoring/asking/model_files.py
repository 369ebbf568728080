"""Where the MLLM's files are, what they are, and how the model wants to be asked; looked at before an engine starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.scoring.asking.prompts import PromptStyle, num_wordings
from gem_ray.scoring.checking.checks import checks_of, warning_about
from gem_ray.storage import Storage

NANO_FOLDER = Path(__file__).parents[1] / "nano"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HEAD_BYTES = 8_000_000


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
    """What tells two models apart, for evidence and for the cache of answers: a hash of the files, or the hub id."""
    resolved = Path(resolve_model(model))
    if not resolved.is_dir():
        return model
    digest = hashlib.sha256()
    for path in sorted(resolved.glob("*.json")) + sorted(resolved.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(file.read(_HEAD_BYTES))  # the start of a large file: its header names every tensor
    return f"{resolved.name}-{digest.hexdigest()[:16]}"


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
