"""The command line that a cluster runs, from what a person typed: the same options, and places that every node sees."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gem_ray.config import DataConfig, GemConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.errors import ConfigError

PLAIN = re.compile(r"[A-Za-z0-9_./:@%+-]+")
OWN_GROUPS = ("submit.", "plan.")


def placed(config: GemConfig) -> GemConfig:
    """The configuration with the places of its data, run and table as the cluster's nodes will see them.

    Raises:
        ConfigError: a place that only this machine has, naming it and ``submit.storage``
    """
    data_root = _place(config, config.table.data_root)
    data_uri = config.data.uri
    if config.submit.job == "table":
        data_uri = below(data_root, data_uri)
    elif _chooses_data(config):
        data_uri = _place(config, data_uri)
    placed_config = replace(
        config,
        data=replace(config.data, uri=data_uri),
        run=replace(config.run, uri=_place(config, config.run.uri)),
        table=replace(config.table, output=_place(config, config.table.output), data_root=data_root),
    )
    _refuse_local(placed_config)
    return placed_config


def below(root: str, uri: str) -> str:
    """A relative path as one below ``root``; an absolute one, or an address, as it is, and any where root is empty."""
    if not root or "://" in uri or Path(uri).is_absolute():
        return uri
    return f"{root.rstrip('/')}/{uri}" if uri else root


def _chooses_data(config: GemConfig) -> bool:
    """Whether ``data.uri`` goes with the job: ``jobs.evaluate`` takes that of the run unless another one is given."""
    return config.submit.job != "evaluate" or config.data.uri != DataConfig().uri


def _place(config: GemConfig, uri: str) -> str:
    if config.submit.storage:
        return below(config.submit.storage, uri)
    # The job's own folder on the cluster is a temporary copy of the code: never what a relative path means.
    return str(Path(uri).absolute()) if config.submit.local_paths and "://" not in uri else uri


def _refuse_local(config: GemConfig) -> None:
    if config.submit.local_paths:
        return
    local = {name: uri for name, uri in _places(config).items() if uri and _is_local(uri)}
    if local:
        named = ", ".join(f"{name}={uri}" for name, uri in local.items())
        raise ConfigError(
            f"{named}: a path of this machine, where no node of the cluster would look. Give an address such as "
            "s3://bucket/..., set submit.storage=s3://bucket/prefix for all relative ones, or submit.local_paths=true "
            "where every node has that file system"
        )


def _places(config: GemConfig) -> dict[str, str]:
    """What the chosen job reads and writes, by option."""
    run = {"run.uri": config.run.uri}
    data = {"data.uri": config.data.uri} if _chooses_data(config) else {}
    given = {"scoring.scores_from": config.scoring.scores_from}
    if config.objective.perceptual_weight > 0:
        given["objective.perceptual_weights"] = config.objective.perceptual_weights
    # A path there is a model's folder; other values are ``nano`` or names of a hub.
    if config.scoring.scorer == "vllm" and config.scoring.model.startswith(("/", "./", "../", "~")):
        given["scoring.model"] = config.scoring.model
    source = {} if config.prepare.source in DRAWN else {"prepare.source": config.prepare.source}
    return {
        "train": run | data | given,
        "evaluate": run | data,
        "prepare": data | source,
        "table": {"table.output": config.table.output} | data | given,
    }[config.submit.job]


def _is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def job_overrides(config: GemConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides that the job gets: those typed, without ``submit.`` and ``plan.``, and the places.

    Args:
        config: as ``placed`` gives it
    """
    kept = [override for override in overrides if not override.startswith(OWN_GROUPS)]
    if config.submit.job == "table":
        places = {"table.output": config.table.output, "table.data_root": config.table.data_root}
    else:
        places = {"data.uri": config.data.uri} if _chooses_data(config) else {}
        if config.submit.job != "prepare":
            places["run.uri"] = config.run.uri
    return [*kept, *(_override(name, place) for name, place in places.items() if place)]


def _override(name: str, value: str) -> str:
    """``name=value`` in Hydra's grammar, quoted where the value holds more than plain characters."""
    if PLAIN.fullmatch(value):
        return f"{name}={value}"
    quoted = value.replace("'", "\\'")
    return f"{name}='{quoted}'"


def command_line(job: str, overrides: Sequence[str]) -> str:
    """The shell command of a job."""
    return shlex.join(["python", "-m", f"jobs.{job}", *overrides])
