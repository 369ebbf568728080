"""A configuration as JSON and back: what a run's folder, a checkpoint and a worker receive."""

from __future__ import annotations

import dataclasses
import json

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from gem_ray.typed_json import parse_json, typed


def config_to_json(config: GemConfig) -> str:
    """The whole configuration, indented, keys in the order of the dataclasses."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def config_from_json(text: str | bytes) -> GemConfig:
    """The inverse of ``config_to_json``.

    Raises:
        ConfigError: text that is not JSON, an unknown key (a configuration of another version), or values of another
            type or that fail their checks
    """
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"the configuration is not JSON ({error}): the file is damaged, restore it") from error
    try:
        return typed(GemConfig, values)
    except ValueError as error:
        raise ConfigError(f"the configuration is of another version of gem_ray, or damaged: {error}") from error
