"""LSUN's LMDB folders, small."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.images import ImageShape
from gem_ray.data.listings import KnownListing
from gem_ray.data.lmdb_files import LmdbListing
from gem_ray.data.shard_task import ShardWork, Skipped, make_images
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError
from gem_ray.storage import Storage

CONFIG = StorageConfig()
RED, GREEN = (200, 30, 30), (30, 200, 30)


def write_lmdb(folder, contents: dict[bytes, bytes]) -> None:
    lmdb = pytest.importorskip("lmdb", reason="lmdb is not installed: pip install 'gem-ray[datasets]'")
    folder.mkdir(parents=True)
    with lmdb.open(str(folder), map_size=1 << 22) as environment, environment.begin(write=True) as entries:
        for key, value in contents.items():
            entries.put(key, value)


def webp(encoded, colour) -> bytes:
    return encoded(np.full((20, 24, 3), colour, np.uint8), "WEBP", lossless=True)


def made(listing, positions: list[int]) -> list[np.ndarray | Skipped]:
    where = np.array(positions)
    shape = ImageShape(size=16, crop=0, max_pixels=10_000)
    work = ShardWork(0, where, listing.part(where), shape, 0, Storage("/nowhere", CONFIG))
    return [image for _, image, _ in make_images(work)]


def test_the_official_layout_gives_images_and_splits(tmp_path, encoded):
    write_lmdb(tmp_path / "bedroom_train_lmdb", {b"b" * 40: webp(encoded, RED), b"a" * 40: webp(encoded, RED)})
    write_lmdb(tmp_path / "bedroom_val_lmdb", {b"c" * 40: webp(encoded, GREEN)})
    listing = list_source(str(tmp_path), 0, CONFIG)
    assert isinstance(listing, KnownListing)
    assert listing.splits.tolist() == [0, 0, 1]
    assert [image[8, 8].tolist() for image in made(listing, [2, 1])] == [list(GREEN), list(RED)]
    write_lmdb(tmp_path / "more" / "bedroom_test_lmdb", {b"x": webp(encoded, GREEN)})
    assert list_source(str(tmp_path), 0, CONFIG).digest() != listing.digest()


def test_one_database_says_its_split_by_its_own_name(tmp_path, encoded):
    for name, split in (("church_val_lmdb", [1, 1]), ("horse", None)):
        write_lmdb(tmp_path / name, {b"1": webp(encoded, RED), b"2": webp(encoded, RED)})
        listing = list_source(str(tmp_path / name), 0, CONFIG)
        assert (listing.splits.tolist() if isinstance(listing, KnownListing) else None) == split
        assert len(listing) == 2


def test_an_entry_that_is_no_image_is_skipped_by_its_key(tmp_path, encoded):
    write_lmdb(tmp_path / "horse", {b"1": webp(encoded, RED), b"2": b"<html>404</html>"})
    images = made(list_source(str(tmp_path / "horse"), 0, CONFIG), [0, 1])
    assert isinstance(images[0], np.ndarray)
    assert images[1].name == "2"
    assert images[1].cause == "not_an_image"


def test_an_entry_that_vanishes_is_no_bad_image(tmp_path, encoded):
    write_lmdb(tmp_path / "horse", {b"1": webp(encoded, RED)})
    listing = list_source(str(tmp_path / "horse"), 0, CONFIG)
    assert isinstance(listing, LmdbListing)
    gone = LmdbListing(listing.root, listing.folders, listing.folder, np.array([b"9"]))
    with pytest.raises(DataError, match="9 has vanished"):
        list(gone.contents())


def test_a_damaged_database_and_a_missing_package_are_named(tmp_path, monkeypatch):
    pytest.importorskip("lmdb", reason="lmdb is not installed: pip install 'gem-ray[datasets]'")
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match="cannot be read as LMDB"):
        list_source(str(tmp_path), 0, CONFIG)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(DataError, match=r"needs the package lmdb: pip install 'gem-ray\[datasets\]'"):
        list_source(str(tmp_path), 0, CONFIG)
