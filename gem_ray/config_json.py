"""A configuration as JSON and back: what a run's folder, a checkpoint and a worker receive."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError


def config_to_json(config: GemConfig) -> str:
    """The whole configuration, indented, keys in the order of the dataclasses."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def config_from_json(text: str) -> GemConfig:
    """The inverse of ``config_to_json``.

    Raises:
        ConfigError: text that is not JSON, an unknown key (a configuration of another version), or values that fail
            their checks
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the configuration is not JSON ({error}): the file is damaged, restore it") from error
    return _build(GemConfig, values, "")


def _build(cls: type, values: dict[str, Any], path: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{path.rstrip('.') or 'the configuration'}={values!r} must be a group of options")
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ConfigError(
            f"unknown option {path}{unknown[0]}: this configuration was written by another version of gem_ray"
        )
    built = {
        name: _build(hints[name], value, f"{path}{name}.") if dataclasses.is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    return cls(**built)
