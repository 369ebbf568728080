"""One cell, from nothing to its numbers, inside a Ray task; and how a finished one is known again.

A cell is finished when its run folder holds a complete checkpoint of the last step, ``evaluation.json`` and, written
last, ``cell.json``, all of the options that the table asks for.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gem_ray.absolute_paths import with_absolute_paths
from gem_ray.checkpoint import latest_step
from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage
from gem_ray.table.cells import Cell, changed_options
from gem_ray.typed_json import parse_json, typed

CELL = "cell.json"


@dataclass(frozen=True)
class CellNote:
    """What a finished cell says of itself: the options it was evaluated with, and on what it was trained."""

    evaluate: dict[str, Any]
    hardware: str


def read_cell_note(run: Storage) -> CellNote:
    """The note in the run's folder of a cell.

    Raises:
        FileNotFoundError: it is not finished
        DataError: the note is damaged
    """
    try:
        return typed(CellNote, parse_json(run.read_bytes(CELL)))
    except ValueError as error:
        raise DataError(f"{run.uri}/{CELL} is damaged ({error}); delete it and run the same table again") from error


def cell_storage(cell: Cell) -> Storage:
    """The folder of the cell's run."""
    return Storage(f"{cell.config.run.uri}/{cell.config.run.name}", cell.config.storage)


def run_cell(config: GemConfig) -> None:
    """Train, or go on, evaluate, and write down what a table needs; needs a running Ray.

    Raises:
        GemRayError: as ``train`` and ``evaluate_codes``
    """
    from gem_ray.evaluation.scoring_of_codes import evaluate_codes
    from gem_ray.train.run_lock import run_lock
    from gem_ray.train.trainer import reach_last_step, run_storage

    torch.set_num_threads(max(1, int(config.train.cpus_per_worker)))
    config = with_absolute_paths(config)
    run, data = run_storage(config), Storage(config.data.uri, config.storage)
    with run_lock(run):
        reach_last_step(config, run, data)  # python -m jobs.report writes the report of a cell that one wants to see
    evaluate_codes(config, run, data)
    run.write_bytes(CELL, json.dumps(asdict(CellNote(asdict(config.evaluate), hardware(config)))).encode())


def hardware(config: GemConfig) -> str:
    """What the cell trained on: cores of the processor, or GPUs where training used them."""
    if config.train.use_gpu:
        import ray

        # A task without a GPU of its own sees none; Ray names what its nodes have.
        prefix = "accelerator_type:"
        names = sorted(name.removeprefix(prefix) for name in ray.cluster_resources() if name.startswith(prefix))
        return f"{config.train.num_workers} x GPU ({' or '.join(names) or 'unknown'})"
    cpus = config.train.num_workers * config.train.cpus_per_worker
    return f"{cpus:g} core{'s' if cpus != 1 else ''} of {_processor()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except FileNotFoundError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def is_finished(cell: Cell) -> bool:
    """Whether the cell needs nothing any more.

    Raises:
        ConfigError: its folder holds a run of other options
    """
    run = cell_storage(cell)
    try:
        stored = typed(dict[str, dict[str, Any]], parse_json(run.read_bytes("config.json")))
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise DataError(f"{run.uri}/config.json is damaged ({error}); delete that folder") from error
    changed = changed_options(stored, cell.config)
    if changed:
        raise ConfigError(
            f"{run.uri} holds a run of other options ({'; '.join(changed)}): delete it, or choose another table.output"
        )
    if (latest_step(run) or 0) < cell.config.train.steps or not run.exists("evaluation.json"):
        return False
    try:
        written = read_cell_note(run).evaluate
    except FileNotFoundError:
        return False
    wanted = json.loads(json.dumps(asdict(cell.config.evaluate)))
    return all(wanted.get(name, value) == value for name, value in written.items() if name != "workers")
