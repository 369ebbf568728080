"""The configuration that a run was trained with, for the jobs that look at it afterwards."""

from __future__ import annotations

from dataclasses import replace

from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json
from gem_ray.errors import DataError
from gem_ray.storage import Storage


def stored_config(run: Storage, given: GemConfig) -> GemConfig:
    """The run's configuration; only ``run`` and ``storage`` are those given on the command line.

    Raises:
        DataError: there is no run in the folder
    """
    try:
        stored = config_from_json(run.read_bytes("config.json"))
    except FileNotFoundError as error:
        raise DataError(f"there is no run at {run.uri}; set run.uri and run.name to those of its training") from error
    return replace(stored, run=given.run, storage=given.storage)
