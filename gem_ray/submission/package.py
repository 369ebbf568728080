"""The package of code that goes with a job: its file of settings, and whether it has grown out of bounds."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gem_ray.errors import ConfigError

KEYS = {"working_dir", "excludes", "env_vars", "config"}
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|API_KEY|ACCESS_KEY|PRIVATE_KEY", re.IGNORECASE)
SHOWN = 5


def read_runtime_env(path: Path, root: Path) -> dict[str, Any]:
    """A runtime environment as ``JobSubmissionClient`` takes it, its ``working_dir`` absolute.

    Args:
        root: folder that a relative ``working_dir`` is taken from

    Raises:
        ConfigError: no such file, an unknown or missing key, a folder that is not there, or a secret among ``env_vars``
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"submit.runtime_env={path} cannot be read: {error}") from error
    if not isinstance(found, dict) or "working_dir" not in found or set(found) - KEYS:
        keys = sorted(found) if isinstance(found, dict) else type(found).__name__
        raise ConfigError(f"{path} has {keys}; it needs working_dir and may have {', '.join(sorted(KEYS))}")
    variables = found.setdefault("env_vars", {}) or {}
    secret = [name for name in variables if SECRET.search(str(name))]
    if secret:
        raise ConfigError(
            f"{path} sets {', '.join(secret)}: Ray shows a job's environment to whoever may list jobs. Give the nodes "
            "a role, or a Kubernetes Secret in their environment"
        )
    folder = (root / str(found["working_dir"])).resolve()
    if not folder.is_dir():
        raise ConfigError(f"working_dir={found['working_dir']!r} of {path} is no folder: {folder}")
    return found | {"working_dir": str(folder), "env_vars": {name: str(value) for name, value in variables.items()}}


def packaged_sizes(package: Path) -> dict[str, int]:
    """Compressed bytes of every file in a package."""
    with zipfile.ZipFile(package) as archive:
        return {entry.filename: entry.compress_size for entry in archive.infolist() if not entry.is_dir()}


def check_size(sizes: Mapping[str, int], max_mb: float, runtime_env: str) -> float:
    """MB (10^6 bytes) of a package.

    Raises:
        ConfigError: it is larger than ``max_mb``; names its largest files
    """
    total = sum(sizes.values()) / 1e6
    if total > max_mb:
        largest = sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]
        named = ", ".join(f"{name} ({size / 1e6:.1f} MB)" for name, size in largest)
        raise ConfigError(
            f"the code to send is {total:.1f} MB in {len(sizes):,} files, over submit.max_mb={max_mb:g}; the largest: "
            f"{named}. Add what does not belong to the excludes of {runtime_env}, or raise submit.max_mb"
        )
    return total
