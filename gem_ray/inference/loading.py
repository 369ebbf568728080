"""``gem_ray.load``: a trained model out of a run's folder, or out of a folder that ``model.save`` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from gem_ray.checkpoint import load_checkpoint
from gem_ray.config import GemConfig, StorageConfig
from gem_ray.config_json import config_from_json
from gem_ray.data.images import ImageShape
from gem_ray.errors import DataError, StorageError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.reference import NUM_IMAGES, PRIOR, RunData
from gem_ray.inference.saved import MODEL, load_saved
from gem_ray.inference.trained import BATCH, TrainedModel
from gem_ray.models.restoring import restore_gem
from gem_ray.storage import Storage


def load(
    run_or_uri: str | Path | Storage,
    *,
    step: int | None = None,
    device: str | torch.device = "cpu",
    reference: str | None = None,
    storage: StorageConfig | None = None,
) -> TrainedModel:
    """A trained model as a plain torch object. Reads safetensors and JSON only; no Ray.

    Args:
        run_or_uri: folder of a run, or of ``model.save``: a path, ``file://``, ``s3://`` or any fsspec URI
        step: of the checkpoint; None takes the newest whole one
        device: where the model computes
        reference: folder of prepared data whose codes say what one standard deviation of a node is and how far it goes;
            None takes the data of the run (or what was saved with the model), ``"prior"`` the standard normal prior
        storage: how object storage is reached (another endpoint, a public bucket)

    Raises:
        DataError: no model there, one of another version, or a damaged one
        StorageError: the place cannot be reached
    """
    if isinstance(run_or_uri, Storage):
        folder = run_or_uri
    else:
        folder = Storage(str(run_or_uri).rstrip("/") or "/", storage or StorageConfig())
    if folder.exists(MODEL):
        if step is not None:
            raise DataError(f"{folder.uri} holds one saved model, not the checkpoints of a run; leave out step={step}")
        model = load_saved(folder)
    else:
        model = _load_run(folder, step, storage)
    if reference == PRIOR:
        model = TrainedModel(model.gem, model.disgraph, step=model.step, shape=model.shape, storage=folder.config)
    elif reference is not None:
        data = RunData(reference, model.data.holdout if model.data else 0, folder.config)
        model = _with_data(model, data, folder.config)
    return model.to(device)


def _load_run(run: Storage, step: int | None, storage: StorageConfig | None) -> TrainedModel:
    checkpoint = load_checkpoint(run, step)
    if checkpoint is None:
        raise DataError(
            f"{run.uri} holds neither a complete checkpoint nor a saved model ({MODEL}); give the folder of a run of "
            "jobs.train (run.uri/run.name), or one that model.save wrote"
        )
    try:
        config, image_size = config_from_json(checkpoint.state["config"]), int(checkpoint.state["image_size"])
    except KeyError as error:
        raise DataError(f"the checkpoint of step {checkpoint.step} in {run.uri} lacks {error}") from error
    prefix = "gem."
    tensors = {name.removeprefix(prefix): t for name, t in checkpoint.model.items() if name.startswith(prefix)}
    data = RunData(config.data.uri, config.data.holdout, storage or config.storage)
    model = TrainedModel(
        restore_gem(config.model, image_size, tensors, f"{run.uri}, step {checkpoint.step}"),
        DisGraph.from_json(checkpoint.graph_json),
        step=checkpoint.step,
        shape=_shape(config, data, image_size),
    )
    return _with_data(model, data, run.config)


def _with_data(model: TrainedModel, data: RunData, storage: StorageConfig) -> TrainedModel:
    """The model with its reference codes from some data, which are not touched before the codes are asked for."""

    def measure(asking: TrainedModel) -> tuple[Tensor, Tensor, str]:
        try:
            images = data.training_images(NUM_IMAGES, asking.image_size)
        except (DataError, StorageError, ImportError) as error:
            raise DataError(
                f"edits, traversals and samples need codes of real images, and the data cannot be read: {error}. Give "
                "reference=FOLDER of prepared data, or reference='prior' for units of the prior, to gem_ray.load"
            ) from error
        parts = [asking.encode(part) for part in images.split(BATCH)]
        mu, logvar = torch.cat([part.mu for part in parts]), torch.cat([part.logvar for part in parts])
        return mu, logvar, f"{len(mu):,} images of the training data"

    return TrainedModel(
        model.gem, model.disgraph, step=model.step, shape=model.shape, storage=storage, codes=measure, data=data
    )


def _shape(config: GemConfig, data: RunData, image_size: int) -> ImageShape:
    """Crop and limits as the data were prepared; where they are out of reach, as the run's options have them."""
    crop, max_pixels = config.prepare.crop, config.prepare.max_pixels
    try:
        # Not through ``read_manifest``: of a manifest that it refuses, these two settings still serve.
        settings = json.loads(Storage(data.uri, data.storage).read_bytes("manifest.json"))["settings"]
        crop, max_pixels = int(settings["crop"]), int(settings["max_pixels"])
    except (FileNotFoundError, StorageError, ValueError, KeyError, TypeError):
        pass  # the data may be gone, or somewhere else, and are not needed to use the model
    return ImageShape(size=image_size, crop=crop, max_pixels=max_pixels)
