"""What the jobs do with a trained model: images are chosen, pictures written, changes told."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gem_ray
from gem_ray.config import EditConfig, GemConfig, ReconstructConfig, RunConfig, SampleConfig, TraverseConfig
from gem_ray.errors import ConfigError, DataError, GraphError
from gem_ray.inference import commands
from gem_ray.inference.figures import edit_figure
from gem_ray.inference.trained import TrainedModel


def config_of(folder: Path, **groups: object) -> GemConfig:
    return GemConfig(run=RunConfig(uri=str(folder.parent), name=folder.name), **groups)  # type: ignore[arg-type]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (40 * number, 90, 120)).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_edit_draws_its_picture_and_tells_what_followed(
    run_folder: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    wanted = EditConfig(changes=["male:+1.5"], image=str(photos), output=str(tmp_path / "out" / "edit.png"))
    assert commands.edit(config_of(run_folder, edit=wanted)) == wanted.output
    with Image.open(wanted.output) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 3 * 32
    said = capsys.readouterr().out
    assert "male +1.5" in said
    assert "64 images of the training data" in said
    model = gem_ray.load(run_folder)
    effect = model.effect(sorted(photos.glob("*.png")), {"male": 1.5})
    for name, amount in effect.items():
        assert any(name in line and f"{amount:+.2f}" in line for line in said.splitlines())
    assert "male acts on it (+0.60)" in said


def test_without_a_place_pictures_go_to_the_run_and_show_what_it_never_saw(own_run: Path):
    for name, wanted in (
        ("reconstruct", ReconstructConfig(count=4)),
        ("traverse", TraverseConfig(attributes=["beard"], positions=3)),
        ("sample", SampleConfig(count=4)),
    ):
        place = getattr(commands, name)(config_of(own_run, **{name: wanted}))
        assert place == f"{own_run}/figures/{name}.png"
        assert Path(place).read_bytes()[:4] == b"\x89PNG"


def test_images_come_from_a_file_a_folder_or_the_held_out_ones(
    model: TrainedModel, photos: Path, run_folder: Path, tmp_path: Path
):
    config = config_of(run_folder)
    one = commands.chosen_images(model, str(photos / "1.png"), 0, 5, config)
    many = commands.chosen_images(model, str(photos), 1, 5, config)
    assert (len(one), len(many)) == (1, 2)
    assert torch.equal(one[0], many[0])
    held_out = commands.chosen_images(model, "", 14, 5, config)
    assert len(held_out) == 2  # of 16
    assert torch.equal(held_out, model.data.held_out_images(14, 2, 32).float() / 255)
    with pytest.raises(DataError, match="from number 3 on"):
        commands.chosen_images(model, str(photos), 3, 1, config)
    with pytest.raises(DataError, match="16 are"):
        commands.chosen_images(model, "", 16, 1, config)
    model.save(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="brings no images"):
        commands.chosen_images(gem_ray.load(tmp_path / "saved"), "", 0, 1, config)


def test_changes_are_read_as_they_are_written(model: TrainedModel):
    assert commands.parse_changes(["male:+1.5", " beard : -2"], model) == {"male": 1.5, "beard": -2.0}


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ([], ConfigError, "male, beard, makeup"),
        (["male"], ConfigError, "name:amount"),
        (["male:much"], ConfigError, "'male:much'"),
        (["male:inf"], ConfigError, "finite"),
        (["male:1", "male:2"], ConfigError, "twice"),
        (["hat:1"], GraphError, "male, beard, makeup"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(
    model: TrainedModel, written: list[str], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        commands.parse_changes(written, model)


def test_the_figure_of_an_edit_shows_every_image_pixel_for_pixel():
    rng = np.random.default_rng(0)
    four = [rng.integers(0, 256, (2, 32, 32, 3)) / 255 for _ in range(4)]
    effect = {"male": 2.0, "beard": 0.4, "makeup": -0.7}
    picture = np.asarray(Image.open(io.BytesIO(edit_figure(*four, {"male": 2.0}, effect))).convert("RGB"))
    for images in four:
        for image in images:
            large = np.kron((image * 255).round().astype(np.uint8), np.ones((8, 8, 1), np.uint8))
            assert contains(picture, large)


def contains(picture: np.ndarray, part: np.ndarray) -> bool:
    """Whether a part is somewhere in a picture, found by its upper left image pixel."""
    height, width = part.shape[:2]
    corners = np.argwhere((picture[: -height + 1, : -width + 1] == part[0, 0]).all(axis=-1))
    return any(np.array_equal(picture[y : y + height, x : x + width], part) for y, x in corners)
