"""A model without its run: a folder of weights, configuration, graph and reference codes, to be handed on.

``model.json`` is written last and holds the sha256 of the other files: a folder without it is no model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from gem_ray.config import ModelConfig, StorageConfig
from gem_ray.data.images import ImageShape
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.trained import TrainedModel
from gem_ray.models.restoring import restore_gem
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

MODEL = "model.json"
SCHEMA_VERSION = 1


def save_model(model: TrainedModel, folder: str, storage: StorageConfig) -> None:
    """Write the model; one that lies there is replaced.

    Raises:
        DataError: the reference codes cannot be measured, since the data of the run cannot be read
        StorageError: the folder cannot be written
    """
    target = Storage(folder, storage)
    reference = model.reference
    codes = {"mu": reference.mu.cpu().contiguous(), "logvar": reference.logvar.cpu().contiguous()}
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.gem.state_dict().items()}
    files = {
        "model.safetensors": save_tensors(weights),
        "codes.safetensors": save_tensors(codes),
        "graph.json": model.disgraph.to_json().encode(),
    }
    content = {
        "schema_version": SCHEMA_VERSION,
        "step": model.step,
        "shape": dataclasses.asdict(model.shape),
        "config": dataclasses.asdict(model.gem.config),
        "codes": reference.source,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    target.delete(MODEL)
    for name, data in files.items():
        target.write_bytes(name, data)
    target.write_bytes(MODEL, json.dumps(content, indent=2).encode())


def load_saved(folder: Storage) -> TrainedModel:
    """The inverse of ``save_model``; nothing is unpickled.

    Raises:
        DataError: another schema, a missing or damaged file
    """
    where = f"{folder.uri}/{MODEL}"
    try:
        content = typed(dict[str, Any], parse_json(folder.read_bytes(MODEL)))
        # Before any other key is looked at: another version may name its files otherwise.
        if content["schema_version"] != SCHEMA_VERSION:
            raise DataError(
                f"{where} has schema version {content['schema_version']}, this program reads {SCHEMA_VERSION}; use the "
                "version of gem_ray that wrote it"
            )
        hashes = typed(dict[str, str], content["sha256"], "sha256")
        files: dict[str, bytes] = {}
        for name, digest in hashes.items():
            files[name], found = folder.read_hashed(name, digest)
            if found != digest:
                raise DataError(f"{folder.uri}/{name} does not match its sha256 in {MODEL}: the file is damaged")
        shape = typed(ImageShape, content["shape"], "shape")
        tensors = load_tensors(files["model.safetensors"])
        gem = restore_gem(
            typed(ModelConfig, content["config"], "config"), shape.size, tensors, f"{folder.uri}/model.safetensors"
        )
        codes = load_tensors(files["codes.safetensors"])
        mu, logvar = codes["mu"], codes["logvar"]
        graph, step, source = (
            DisGraph.from_json(files["graph.json"].decode()),
            typed(int, content["step"], "step"),
            typed(str, content["codes"], "codes"),
        )
    except (FileNotFoundError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DataError(f"{where} is incomplete or damaged: {type(error).__name__}: {error}; save it again") from error

    def stored_codes(_: TrainedModel) -> tuple[Tensor, Tensor, str]:
        return mu, logvar, source

    return TrainedModel(gem, graph, step=step, shape=shape, storage=folder.config, codes=stored_codes)
