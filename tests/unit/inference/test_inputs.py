"""Images in every form a person may have them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gem_ray.config import StorageConfig
from gem_ray.data.images import ImageShape, decode_image
from gem_ray.errors import DataError
from gem_ray.inference.inputs import to_batch, to_pixels

SHAPE = ImageShape(size=32, crop=40, max_pixels=100_000)
STORAGE = StorageConfig()


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def test_every_form_of_one_image_is_the_same_batch(pixels: np.ndarray, tmp_path: Path):
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    large = np.kron(pixels, np.ones((2, 2, 1), np.uint8))  # other sizes are cropped first, so it has to be one
    (tmp_path / "large.png").write_bytes(png(large))
    forms = [Image.fromarray(pixels), pixels, torch.from_numpy(pixels).permute(2, 0, 1), expected[0]]
    for form in forms:
        batch, single = to_batch(form, SHAPE, STORAGE)
        assert single
        assert torch.equal(batch, expected)
    files = [tmp_path / "large.png", str(tmp_path / "large.png"), (tmp_path / "large.png").as_uri(), large]
    wanted = torch.tensor(decode_image(png(large), SHAPE)).permute(2, 0, 1).float() / 255
    for form in [*files, Image.fromarray(large), torch.from_numpy(large).permute(2, 0, 1) / 255.0]:
        batch, single = to_batch(form, SHAPE, STORAGE)
        assert single
        assert torch.equal(batch[0], wanted)


def test_batches_and_lists_stay_batches_in_their_order(pixels: np.ndarray):
    other = 255 - pixels
    expected = torch.from_numpy(np.stack([pixels, other])).permute(0, 3, 1, 2).float() / 255
    for form in (np.stack([pixels, other]), expected, [pixels, Image.fromarray(other)], (expected[0], other)):
        batch, single = to_batch(form, SHAPE, STORAGE)
        assert not single
        assert torch.equal(batch, expected)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (np.zeros((32, 32, 3), np.float32), "float32"),
        (np.zeros((32, 32), np.uint8), "[32, 32]"),
        (np.zeros((3, 32, 32), np.uint8), "[H, W, 3]"),
        (torch.full((3, 32, 32), 200.0), "divide 0..255 by 255"),
        (torch.full((3, 32, 32), float("nan")), "[0, 1]"),
        (torch.zeros(1, 32, 32), "[3, H, W]"),
        ([], "empty"),
        (7, "PIL"),
        (np.zeros((20, 20, 3), np.uint8), "20 x 20"),
        (np.zeros((400, 400, 3), np.uint8), "100,000"),
        ("/nowhere/photo.png", "/nowhere/photo.png"),
    ],
)
def test_what_is_no_usable_image_is_refused_by_its_fault(form: object, message: str):
    with pytest.raises(DataError) as refused:
        to_batch(form, SHAPE, STORAGE)  # type: ignore[arg-type]
    assert message in str(refused.value)


def test_a_file_that_is_no_image_is_refused_by_its_name(tmp_path: Path):
    (tmp_path / "x.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"x\.png.*not_an_image"):
        to_batch(tmp_path / "x.png", SHAPE, STORAGE)


def test_pixels_come_back_as_they_went_in(pixels: np.ndarray):
    batch, _ = to_batch(pixels, SHAPE, STORAGE)
    np.testing.assert_array_equal(to_pixels(batch)[0], pixels)
    assert to_pixels(torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1)).tolist() == [[[0, 128, 255]]]
