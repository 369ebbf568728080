"""Checkpoints: safetensors and JSON in the run's storage, complete or invisible.

Files of one step are written first and ``manifest.json`` with their sha256 last, so a checkpoint without a manifest
does not exist for any reader. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import dataclass, field
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

log = logging.getLogger(__name__)
FOLDER = "checkpoints"
MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
OURS = re.compile(r"step_([0-9]{9}|[1-9][0-9]{9,})")
"""Names that ``_name`` gives; any other folder beside them is somebody else's."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything a run needs to go on.

    Args:
        step: optimiser steps done
        model: parameters and buffers by name
        optimizer: optimiser state, flattened to named tensors; empty where only the model is wanted
        graph_json: the DisGraph that training used at that step
        state: JSON values: the configuration, seed and counters
    """

    step: int
    model: dict[str, Tensor]
    graph_json: str
    state: dict[str, Any]
    optimizer: dict[str, Tensor] = field(default_factory=dict)


def _name(step: int) -> str:
    return f"{FOLDER}/step_{step:09d}"


def save_checkpoint(run: Storage, checkpoint: Checkpoint, keep: int) -> int:
    """Publish a checkpoint and delete all but the newest ``keep`` whole ones; returns its size in bytes.

    Raises:
        StorageError: where a file cannot be written (a full disk, say); earlier checkpoints are untouched then
    """
    folder = _name(checkpoint.step)
    files = {
        "model.safetensors": save({k: v.detach().cpu().contiguous() for k, v in checkpoint.model.items()}),
        "optimizer.safetensors": save({k: v.detach().cpu().contiguous() for k, v in checkpoint.optimizer.items()}),
        "graph.json": checkpoint.graph_json.encode(),
        "state.json": json.dumps(checkpoint.state, indent=2).encode(),
    }
    # A folder of this step without a manifest is what an interrupted save left; with one it is replaced as a whole.
    _delete(run, folder)
    for name, data in files.items():
        run.write_bytes(f"{folder}/{name}", data)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "step": checkpoint.step,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    run.write_bytes(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=2).encode())
    kept = {folder, *(_name(step) for step in complete_steps(run)[-keep:])}
    for old in run.folders(FOLDER):  # also what a killed save, or a killed deletion, left
        if old not in kept and OURS.fullmatch(old.rsplit("/", 1)[-1]):
            _delete(run, old)
    return sum(len(data) for data in files.values())


def _delete(run: Storage, folder: str) -> None:
    run.delete(f"{folder}/{MANIFEST}")  # first: from here on it is no checkpoint
    run.delete(folder)


def complete_steps(run: Storage) -> list[int]:
    """Steps of all complete checkpoints, ascending."""
    names = [name.split("/") for name in run.list(FOLDER)]
    found = [OURS.fullmatch(parts[1]) for parts in names if len(parts) == 3 and parts[2] == MANIFEST]
    return sorted(int(match[1]) for match in found if match)


def latest_step(run: Storage) -> int | None:
    """Step of the newest complete checkpoint, None where there is none; its files may be damaged."""
    steps = complete_steps(run)
    return steps[-1] if steps else None


def newest_whole_step(run: Storage) -> int | None:
    """Step of what ``load_checkpoint`` gives, which is read for it; None where there is none.

    Raises:
        DataError: all checkpoints are damaged
    """
    found = load_checkpoint(run)
    return found.step if found else None


def put_aside_newer(run: Storage, step: int) -> None:
    """Of checkpoints newer than ``step``, which could not be read, make folders that no reader takes for one.

    A run that went on beside them would have its own, older, checkpoints deleted in their favour.
    """
    for newer in [found for found in complete_steps(run) if found > step]:
        folder, aside = _name(newer), f"{FOLDER}/unreadable_{newer:09d}"
        log.warning("going on from step %d; what could not be read is put aside as %s/%s", step, run.uri, aside)
        for name in run.list(folder):
            run.write_bytes(name.replace(folder, aside, 1), run.read_bytes(name))
        _delete(run, folder)


def load_checkpoint(run: Storage, step: int | None = None) -> Checkpoint | None:
    """The checkpoint of ``step``, or the newest that is whole; None where there is none.

    With ``step`` None a damaged checkpoint is passed over with a warning and the one before it is taken.

    Raises:
        DataError: the checkpoint asked for is damaged or missing, or all of them are damaged
    """
    if step is not None:
        return _load(run, step)
    steps = complete_steps(run)
    problems: list[str] = []
    for candidate in reversed(steps):
        try:
            return _load(run, candidate)
        except DataError as error:
            log.warning("passing over an unreadable checkpoint: %s", error)
            problems.append(str(error))
    if problems:
        raise DataError(
            f"none of the {len(steps)} checkpoints under {run.uri}/{FOLDER} can be read; delete them to start anew. "
            f"The newest: {problems[0]}"
        )
    return None


def _load(run: Storage, step: int) -> Checkpoint:
    folder = _name(step)
    try:
        manifest = parse_json(run.read_bytes(f"{folder}/{MANIFEST}"))
        # Before any other key is looked at: another version may have named its files otherwise.
        if manifest["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"checkpoint {run.uri}/{folder} has schema version {manifest['schema_version']}, "
                f"this program reads {SCHEMA_VERSION}; use the version of gem_ray that wrote it"
            )
        hashes = typed(dict[str, str], manifest["sha256"], "sha256")
        files: dict[str, bytes] = {}
        for name, digest in hashes.items():
            files[name], found = run.read_hashed(f"{folder}/{name}", digest)
            if found != digest:
                raise DataError(
                    f"{run.uri}/{folder}/{name} does not match the sha256 of its manifest: the file is damaged"
                )
        if manifest["step"] != step:
            raise ValueError(f"its manifest is of step {manifest['step']!r}")
        return Checkpoint(
            step=step,
            model=load(files["model.safetensors"]),
            optimizer=load(files["optimizer.safetensors"]),
            graph_json=files["graph.json"].decode(),
            state=typed(dict[str, Any], parse_json(files["state.json"]), "state"),
        )
    except (FileNotFoundError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DataError(
            f"checkpoint {run.uri}/{folder} is incomplete or damaged: {type(error).__name__}: {error}"
        ) from error
