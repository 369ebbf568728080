"""What stays as it was once a run has a checkpoint: all that decides what is in one, and what is trained on when."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gem_ray.checkpoint import complete_steps
from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.loader import chosen_ingest
from gem_ray.data.manifest import Manifest, has_manifest, read_manifest
from gem_ray.errors import ConfigError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json

FIXED = ("model", "objective", "data.uri", "data.batch_size", "data.holdout", "train.seed", "graph.relations")
FREE = {"objective.perceptual_weights"}  # where a file lies
# Behind the order of a stream, whose windows are cut from the stretches of as many lanes as there may be workers.
FIXED_IN_STREAM = ("train.num_workers", "data.window_shards")


def check_same_run(config: GemConfig, run: Storage, data: Storage) -> None:
    """Refuse to go on with another experiment, else remember this configuration as the run's.

    Steps, cadence, learning rate and services may change between sittings. An option that the configuration of an older
    version does not have yet is not compared.

    Raises:
        ConfigError: a changed option, with both values
        DataError: the manifest of the data is damaged
    """
    try:
        stored = run.read_bytes("config.json")
    except FileNotFoundError:
        stored = None
    if stored is not None and complete_steps(run):
        before, known = config_from_json(stored), parse_json(stored)
        _compare(FIXED, before, config, known, run)
        if _streams_as_before(before, config, data, run):
            _compare(FIXED_IN_STREAM, before, config, known, run)
    run.write_bytes("config.json", config_to_json(config).encode())


def _compare(paths: tuple[str, ...], before: GemConfig, now: GemConfig, known: dict[str, Any], run: Storage) -> None:
    olds, news = asdict(before), asdict(now)
    for path in paths:
        group, _, only = path.partition(".")
        for name in [only] if only else news[group]:
            old, new = olds[group][name], news[group][name]
            if old != new and name in known.get(group, {}) and f"{group}.{name}" not in FREE:
                raise ConfigError(
                    f"the run {run.uri} was started with {group}.{name}={old}, now it is {new}; "
                    "set it back or choose another run.name"
                )


def _streams_as_before(before: GemConfig, now: GemConfig, data: Storage, run: Storage) -> bool:
    """Whether the images are streamed, or may be: that is not known where data have yet to be drawn again."""
    manifest = read_manifest(data) if has_manifest(data) else None
    old, new = (_ingest(config, manifest) for config in (before, now))
    if old != new:
        raise ConfigError(
            f"the run {run.uri} was started with data.ingest={before.data.ingest} and "
            f"data.memory_limit_gb={before.data.memory_limit_gb}, which is {old}, now it is {new}, in another order; "
            f"set data.ingest={old} or choose another run.name"
        )
    return new != "memory"


def _ingest(config: GemConfig, manifest: Manifest | None) -> str:
    return config.data.ingest if manifest is None else chosen_ingest(config.data, manifest)
