"""Labelled photographs in CelebA's layout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gem_ray.config import StorageConfig
from gem_ray.data.images import ImageShape
from gem_ray.data.labelled import LabelledImages, read_labelled
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage

SHAPE = ImageShape(size=16, crop=0, max_pixels=10_000)
LABELS = {"1.jpg": "-1 1 1", "2.jpg": "1 -1 -1", "3.jpg": "1 0 -1", "4.jpg": "0 0 0"}


def make_folder(path: Path, labels: dict[str, str] = LABELS, names: str = "Male No_Beard Blond_Hair") -> Storage:
    folder = Storage(str(path), StorageConfig())
    for number, name in enumerate(labels):
        buffer = io.BytesIO()
        Image.new("RGB", (20, 24), (60 * number, 0, 0)).save(buffer, "PNG")
        folder.write_bytes(f"img_align_celeba/{name}", buffer.getvalue())
    lines = [str(len(labels)), names, *(f"{name}  {values}" for name, values in labels.items())]
    folder.write_bytes("list_attr_celeba.txt", "\r\n".join(lines).encode())
    return folder


def read(folder: Storage, *attributes: str, num_images: int = 0, split: str = "all", seed: int = 0) -> LabelledImages:
    return read_labelled(folder, attributes, shape=SHAPE, num_images=num_images, split=split, seed=seed)


def test_labels_become_truth_by_celebas_names_their_own_and_given_ones(tmp_path: Path):
    folder = make_folder(tmp_path)
    found = read(folder, "male", "beard", "fair hair:Blond_Hair")
    assert found.attributes == ("male", "beard", "fair hair")
    assert found.images.shape == (3, 16, 16, 3)  # nothing is known of 4.jpg
    assert found.images[1, 8, 8, 0] == pytest.approx(60, abs=1)
    np.testing.assert_array_equal(found.truth, [[0, 0, 1], [1, 1, 0], [1, np.nan, 0]])
    np.testing.assert_array_equal(read(folder, "No Beard").truth[:, 0], [1, 0])


def test_the_part_is_random_by_seed_and_bounded(tmp_path: Path):
    folder = make_folder(tmp_path, {f"{number}.jpg": "1 1 1" for number in range(4)})
    one, same = read(folder, "male", num_images=2), read(folder, "male", num_images=2)
    np.testing.assert_array_equal(one.images, same.images)
    assert len({read(folder, "male", num_images=2, seed=seed).images.tobytes() for seed in range(8)}) > 1


def test_a_split_is_read_from_the_partition_file(tmp_path: Path):
    folder = make_folder(tmp_path)
    folder.write_bytes("list_eval_partition.txt", b"1.jpg 0\n2.jpg 2\n3.jpg 2\n")
    np.testing.assert_array_equal(read(folder, "male", split="test").truth[:, 0], [1, 1])
    np.testing.assert_array_equal(read(folder, "male", split="train").truth[:, 0], [0])
    with pytest.raises(DataError, match=r"no image .*check\.split=valid"):
        read(folder, "male", split="valid")


def test_a_split_without_a_partition_file_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no list_eval_partition\.txt"):
        read(make_folder(tmp_path), "male", split="test")


def test_an_attribute_without_a_label_names_those_there_are(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'smiling' has no label.*name:Label.*Male, No_Beard, Blond_Hair"):
        read(make_folder(tmp_path), "smiling")
    with pytest.raises(ConfigError, match="'grin:Smiling' has no label"):
        read(make_folder(tmp_path), "grin:Smiling")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x\nMale\n1.jpg 1\n", "first line must be the number"),
        ("2\nMale\n1.jpg 1\n", "lists 1 images and says 2"),
        ("1\nMale\n1.jpg 1 1\n", "line 3"),
        ("1\nMale\n1.jpg 7\n", "line 3"),
    ],
)
def test_a_file_of_another_layout_is_refused(tmp_path: Path, text: str, message: str):
    folder = make_folder(tmp_path)
    folder.write_bytes("list_attr_celeba.txt", text.encode())
    with pytest.raises(DataError, match=message):
        read(folder, "male")


def test_missing_folders_files_and_bad_images_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no list_attr_celeba\.txt.*CelebA's layout"):
        read(Storage(str(tmp_path / "nowhere"), StorageConfig()), "male")
    folder = make_folder(tmp_path)
    folder.write_bytes("img_align_celeba/2.jpg", b"no picture")
    with pytest.raises(DataError, match=r"2\.jpg cannot be used: not_an_image"):
        read(folder, "male")
    folder.delete("img_align_celeba/2.jpg")
    with pytest.raises(DataError, match=r"2\.jpg is missing although"):
        read(folder, "male")
