"""``serve run serve.app:builder``, ``serve deploy serve/config.yaml``: the MLLM alone, on a cluster of its own."""

from __future__ import annotations

from typing import Any, get_type_hints

from ray.serve import Application

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError
from gem_ray.scoring.asking.model_files import resolve_model
from gem_ray.scoring.serving.deployment import build_app


def builder(args: dict[str, Any]) -> Application:
    """The application for options of ``ScoringConfig`` given by name, as values or as text (``model=nano``).

    Raises:
        ConfigError: an unknown option, or a value that is not of its type
        ScorerError: the model does not exist
    """
    hints = get_type_hints(ScoringConfig)
    unknown = sorted(set(args) - set(hints))
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]}={args[unknown[0]]!r}; choose among {', '.join(sorted(hints))}")
    values = {}
    for name, value in args.items():
        try:
            values[name] = hints[name](value)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{name}={value!r} is not of type {hints[name].__name__}") from error
    config = ScoringConfig(**values)
    resolve_model(config.model)
    return build_app(config)
