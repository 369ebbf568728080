"""What the jobs do with a trained model: choose images, draw them, and say what changed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from gem_ray.config import GemConfig
from gem_ray.data.files import IMAGE_SUFFIXES
from gem_ray.errors import ConfigError, DataError
from gem_ray.evaluation.image_figures import reconstructions_figure, samples_figure, traversal_figure
from gem_ray.evaluation.reconstruction import image_quality
from gem_ray.inference.export import export as export_parts
from gem_ray.inference.figures import edit_figure
from gem_ray.inference.inputs import to_batch
from gem_ray.inference.loading import load
from gem_ray.inference.trained import TrainedModel
from gem_ray.storage import Storage


def run_folder(config: GemConfig) -> Storage:
    """The folder of the run, or of a saved model: ``run.uri`` / ``run.name``."""
    return Storage(f"{config.run.uri}/{config.run.name}", config.storage)


def edit(config: GemConfig) -> str:
    """Draw ``edit.changes`` and print how far every attribute moved; gives where the picture is.

    Raises:
        ConfigError, DataError, GraphError: changes, images or attributes that there are not
    """
    wanted, model = config.edit, load(run_folder(config))
    changes = parse_changes(wanted.changes, model)
    images = chosen_images(model, wanted.image, wanted.first, wanted.count, config)
    effect = model.effect(images, changes)
    picture = edit_figure(
        as_arrays(images),
        as_arrays(model.reconstruct(images)),
        as_arrays(model.edit(images, changes)),
        as_arrays(model.edit(images, changes, propagate=False)),
        changes,
        effect,
    )
    say_effect(changes, effect, model)
    return write_picture(config, wanted.output, "edit", picture)


def reconstruct(config: GemConfig) -> str:
    """Draw images above their reconstructions and print how near they are; gives where the picture is."""
    wanted, model = config.reconstruct, load(run_folder(config))
    images = chosen_images(model, wanted.image, wanted.first, wanted.count, config)
    made = model.reconstruct(images)
    quality = image_quality(images, made)
    explained = "" if math.isnan(quality.explained) else f", explains {quality.explained:.1%} of the variance"
    print(
        f"{len(images)} images: mean squared error {quality.mse:.4f}, PSNR {quality.psnr_db:.1f} dB, "
        f"SSIM {quality.ssim:.3f}{explained}"
    )
    return write_picture(
        config, wanted.output, "reconstruct", reconstructions_figure(as_arrays(images), as_arrays(made))
    )


def traverse(config: GemConfig) -> str:
    """Draw traversals of one image, with and without propagation; gives where the picture is."""
    wanted, model = config.traverse, load(run_folder(config))
    image = chosen_images(model, wanted.image, wanted.first, 1, config)[0]
    names = wanted.attributes or list(model.attributes)
    rows = []
    for propagate in (True, False):
        rows.append(torch.stack([model.traverse(image, name, wanted.positions, propagate)[0] for name in names]))
    unit = model.reference.deviation
    for name in names:
        values = model.traverse(image, name, wanted.positions)[1]
        latent = model.attributes.index(name) * model.gem.config.node_dim
        own = float(model.encode(image).mu[latent])
        print(
            f"{name}: from {values[0]:+.2f} to {values[-1]:+.2f}, the image is at {own:+.2f}; "
            f"one standard deviation is {unit[latent]:.2f}"
        )
    picture = traversal_figure(as_arrays(rows[0]), as_arrays(rows[1]), names)
    return write_picture(config, wanted.output, "traverse", picture)


def sample(config: GemConfig) -> str:
    """Draw random images; gives where the picture is."""
    wanted, model = config.sample, load(run_folder(config))
    images = model.sample(wanted.count, wanted.seed, wanted.prior)
    how = "from the prior" if wanted.prior else f"each node from one of {model.reference.source}"
    print(f"{wanted.count} samples of seed {wanted.seed}, {how}")
    return write_picture(config, wanted.output, "sample", samples_figure(as_arrays(images)))


def export(config: GemConfig) -> str:
    """Write encoder, graph and decoder for other programs, saying how near each is to torch; gives the folder.

    Raises:
        ConfigError: ONNX is not installed, a part does not do what torch does
        StorageError: the run is remote, so that ``export.output`` has to be named
    """
    wanted, model = config.export, load(run_folder(config))
    folder = Path(wanted.output) if wanted.output else run_folder(config).local_path / "export"
    export_parts(
        model,
        folder,
        wanted.formats,
        wanted.max_difference,
        lambda path, far: print(f"{path.name}: {path.stat().st_size:,} bytes, within {far:.1e} of torch", flush=True),
    )
    return str(folder)


def parse_changes(written: list[str], model: TrainedModel) -> dict[str, float]:
    """``["bangs:+1.5"]`` as {"bangs": 1.5}.

    Raises:
        ConfigError: nothing to change, a change that is no number, an attribute named twice
        GraphError: an attribute that the model does not know
    """
    known = ", ".join(model.attributes)
    if not written:
        raise ConfigError(
            f"edit.changes is empty: say what to move, as edit.changes=[{model.attributes[0]}:+1.5]; "
            f"this model knows {known}"
        )
    changes: dict[str, float] = {}
    for text in written:
        name, _, amount = text.rpartition(":")
        name = name.strip()
        try:
            value = float(amount)
        except ValueError as error:
            raise ConfigError(f"edit.changes: {text!r} is not name:amount, as {model.attributes[0]}:+1.5") from error
        if not math.isfinite(value):
            raise ConfigError(f"edit.changes: {text!r} is not a finite amount")
        if name in changes:
            raise ConfigError(f"edit.changes names {name} twice")
        model.disgraph.index(name)
        changes[name] = value
    return changes


def chosen_images(model: TrainedModel, source: str, first: int, count: int, config: GemConfig) -> Tensor:
    """Images [N, 3, H, W] of a file, of a folder by name, or held out by the run.

    Raises:
        DataError: there are none, or one cannot be used
    """
    if not source:
        if model.data is None:
            raise DataError("a saved model brings no images: name an image file or a folder, as edit.image=photo.png")
        images = model.data.held_out_images(first, count, model.image_size)
        return to_batch(images, model.shape, config.storage)[0]
    if source.lower().endswith(IMAGE_SUFFIXES):
        return to_batch([source], model.shape, config.storage)[0]
    folder = Storage(source.rstrip("/") or "/", config.storage)
    names = [name for name in folder.list() if name.lower().endswith(IMAGE_SUFFIXES)][first : first + count]
    if not names:
        raise DataError(f"{source} has no image from number {first} on: files that end in {', '.join(IMAGE_SUFFIXES)}")
    return to_batch([f"{folder.uri}/{name}" for name in names], model.shape, config.storage)[0]


def write_picture(config: GemConfig, output: str, name: str, picture: bytes) -> str:
    """Write a PNG where the user wants it, else into the run's ``figures``; gives its place."""
    if output:
        folder, _, file = output.rpartition("/")
        Storage(folder or ("/" if output.startswith("/") else "."), config.storage).write_bytes(file, picture)
        return output
    run = run_folder(config)
    run.write_bytes(f"figures/{name}.png", picture)
    return f"{run.uri}/figures/{name}.png"


def say_effect(changes: dict[str, float], effect: dict[str, float], model: TrainedModel) -> None:
    """Print what moved: what was asked for first, then what followed, most first."""
    asked = ", ".join(f"{name} {amount:+g}" for name, amount in changes.items())
    print(f"edited: {asked}, in standard deviations of codes of {model.reference.source}")
    table = Table()
    table.add_column("attribute")
    table.add_column("moved by", justify="right")  # in deviations of what the decoder sees, hence not quite as asked
    table.add_column("why")
    followers = sorted((name for name in effect if name not in changes), key=lambda name: -abs(effect[name]))
    for name in [*changes, *followers]:
        # With several rounds of message passing an attribute may also move by way of others.
        causes = [
            f"{source} acts on it ({model.graph[source, name].refined:+.2f})" for source in changes if source != name
        ]
        why = ["edited", *causes] if name in changes else causes
        table.add_row(name, f"{effect[name]:+.2f}", ", ".join(why))
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, 100))
    console.print(table)


def as_arrays(images: Tensor) -> NDArray[np.float64]:
    """[..., 3, H, W] to arrays with the colour last."""
    return images.movedim(-3, -1).double().cpu().numpy()
