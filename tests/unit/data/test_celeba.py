"""CelebA as a source of prepared data: every image with its labels, and splits that share nobody."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.images import ImageShape
from gem_ray.data.labelled import read_labelled
from gem_ray.data.listings import FileListing, KnownListing
from gem_ray.data.shard_task import ShardWork, make_images
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError
from gem_ray.storage import Storage

CONFIG = StorageConfig()
LABELS = {"000001.jpg": "-1 1 1", "000002.jpg": "1 -1 -1", "000003.jpg": "1 1 -1", "000004.jpg": "-1 0 1"}
PARTITION = "000001.jpg 0\n000002.jpg 2\n000003.jpg 1\n000004.jpg 0\n"
SHAPE = ImageShape(size=16, crop=148, max_pixels=100_000)


def write_celeba(folder, encoded, partition: str | None = PARTITION, identities: str | None = None):
    (folder / "img_align_celeba").mkdir(parents=True)
    for number, name in enumerate(LABELS):
        image = np.full((218, 178, 3), 255, np.uint8)
        image[35:183, 15:163] = 40 * number  # the centre of side 148
        (folder / "img_align_celeba" / name).write_bytes(encoded(image, "PNG"))
    lines = [str(len(LABELS)), "Male No_Beard Bushy_Eyebrows", *(f"{name}  {row}" for name, row in LABELS.items())]
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines))
    if partition is not None:
        (folder / "list_eval_partition.txt").write_text(partition)
    if identities is not None:
        (folder / "identity_CelebA.txt").write_text(identities)
    return folder


def listed(folder) -> KnownListing:
    listing = list_source(str(folder), 0, CONFIG)
    assert isinstance(listing, KnownListing)
    return listing


def test_images_come_with_labels_and_official_splits(tmp_path, encoded):
    listing = listed(write_celeba(tmp_path, encoded))
    assert listing.names == ("male", "beard", "bushy eyebrows")
    np.testing.assert_array_equal(listing.values, [[0, 0, 1], [1, 1, 0], [1, 0, 0], [0, np.nan, 1]])
    assert listing.splits.tolist() == [0, 2, 1, 0]


def test_the_usual_crop_takes_the_centre_and_labels_stay_with_their_image(tmp_path, encoded):
    listing = listed(write_celeba(tmp_path, encoded))
    where = np.array([3, 1])
    work = ShardWork(0, where, listing.part(where), SHAPE, 0, Storage("/nowhere", CONFIG))
    (_, last, of_last), (_, second, of_second) = make_images(work)
    inner = slice(3, -3)  # resizing mixes a little of the surroundings into the pixels at the edge
    assert np.abs(last[inner, inner].astype(int) - 120).max() <= 2
    assert np.abs(second[inner, inner].astype(int) - 40).max() <= 2
    np.testing.assert_array_equal([of_last, of_second], [[0, np.nan, 1], [1, 1, 0]])


def test_stored_labels_are_what_the_check_of_an_mllm_reads(tmp_path, encoded):
    folder = write_celeba(tmp_path, encoded)
    names = ("male", "beard", "bushy eyebrows")
    checked = read_labelled(Storage(str(folder), CONFIG), names, shape=SHAPE, num_images=0)
    np.testing.assert_array_equal(listed(folder).values, checked.truth)


def test_without_a_partition_file_there_are_no_splits(tmp_path, encoded):
    assert listed(write_celeba(tmp_path, encoded, partition=None)).splits is None


def test_an_incomplete_partition_is_refused(tmp_path, encoded):
    write_celeba(tmp_path, encoded, partition="000001.jpg 0\n000002.jpg 2\n000003.jpg 1\n")
    with pytest.raises(DataError, match=r"does not say the split of 1 images, 000004\.jpg for one"):
        listed(tmp_path)


def test_a_missing_image_is_named(tmp_path, encoded):
    (write_celeba(tmp_path, encoded) / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 images .* 000002\.jpg for one; unpack"):
        listed(tmp_path)


def test_nobody_may_be_in_two_splits(tmp_path, encoded):
    apart = "000001.jpg 7\n000002.jpg 8\n000003.jpg 9\n000004.jpg 7\n"
    assert isinstance(listed(write_celeba(tmp_path / "a", encoded, identities=apart)).images, FileListing)
    torn = apart.replace("000002.jpg 8", "000002.jpg 7")
    with pytest.raises(DataError, match="1 people .* person 7 in train and test"):
        listed(write_celeba(tmp_path / "b", encoded, identities=torn))
