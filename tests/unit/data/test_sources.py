"""Sources: what is listed, what is read, and that archives are read without unpacking them."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.files import FileItem, read_files
from gem_ray.data.images import BadImageError, Cause
from gem_ray.data.sources import DrawnListing, FileListing, RowListing, list_source
from gem_ray.errors import ConfigError, DataError, StorageError
from gem_ray.storage import Storage

CONFIG = StorageConfig()
CONTENT = {"b/2.png": b"two" * 50, "a.jpg": b"one", "c.webp": os.urandom(5000), "empty.jpg": b""}
LIMIT = 1 << 20


def read_all(listing: FileListing) -> dict[str, bytes | BadImageError]:
    found = dict(read_files(listing.storage, listing.items, LIMIT))
    assert sorted(found) == list(range(len(listing)))
    return {listing.items[place].label: data for place, data in found.items()}


def make_folder(folder):
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(data)
    (folder / "labels.csv").write_text("not an image")
    (folder / "._a.jpg").write_text("a Mac's own notes")
    return folder


def make_zip(path, compression=zipfile.ZIP_DEFLATED, content=CONTENT):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("labels.csv", "not an image")
        archive.mkdir("folder.jpg")
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def make_tar(path):
    with tarfile.open(path, "w") as archive:
        for name, data in CONTENT.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


def test_a_folder_is_listed_in_order_with_all_below_it(tmp_path):
    listing = list_source(str(make_folder(tmp_path / "images")), 0, CONFIG)
    assert [item.label for item in listing.items] == ["a.jpg", "b/2.png", "c.webp", "empty.jpg"]
    assert read_all(listing) == CONTENT


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_zip_is_read_member_by_member(tmp_path, compression, scheme):
    listing = list_source(scheme + str(make_zip(tmp_path / "images.zip", compression)), 0, CONFIG)
    assert read_all(listing) == CONTENT
    assert os.listdir(tmp_path) == ["images.zip"]


def test_a_zip_behind_other_bytes_is_read(tmp_path):
    plain = make_zip(tmp_path / "plain.zip").read_bytes()
    (tmp_path / "images.zip").write_bytes(b"#!/bin/sh\n" * 30 + plain)
    assert read_all(list_source(str(tmp_path / "images.zip"), 0, CONFIG)) == CONTENT


def test_a_streamed_zip_with_sizes_behind_the_data_is_read(tmp_path):
    class Unseekable(io.RawIOBase):
        def __init__(self, file):
            self.file = file

        def writable(self):
            return True

        def write(self, data):
            return self.file.write(data)

    with (tmp_path / "images.zip").open("wb") as file, zipfile.ZipFile(Unseekable(file), "w", 8) as archive:
        for name, data in CONTENT.items():
            archive.writestr(name, data)
    assert read_all(list_source(str(tmp_path / "images.zip"), 0, CONFIG)) == CONTENT


def test_a_tar_is_read_without_its_links(tmp_path):
    listing = list_source(str(make_tar(tmp_path / "images.tar")), 0, CONFIG)
    assert read_all(listing) == CONTENT


def test_names_in_an_archive_are_labels_only(tmp_path):
    content = {"../../outside.jpg": b"1" * 9, "/absolute.jpg": b"2" * 9, "..\\windows.jpg": b"3" * 9}
    (tmp_path / "inside").mkdir()
    listing = list_source(str(make_zip(tmp_path / "inside" / "a.zip", content=content)), 0, CONFIG)
    assert sorted(read_all(listing).values()) == sorted(content.values())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.zip", "inside"]


def test_a_damaged_member_is_a_bad_image_and_the_others_are_read(tmp_path):
    data = bytearray(make_zip(tmp_path / "images.zip", zipfile.ZIP_STORED).read_bytes())
    data[data.index(b"twotwo") + 3] ^= 1
    (tmp_path / "images.zip").write_bytes(data)
    found = read_all(list_source(str(tmp_path / "images.zip"), 0, CONFIG))
    bad = found.pop("b/2.png")
    assert isinstance(bad, BadImageError)
    assert (bad.cause, bad.detail) == (Cause.CORRUPT, "the checksum in the zip does not match")
    assert found == {name: content for name, content in CONTENT.items() if name != "b/2.png"}


def test_a_zip_bomb_is_refused_by_its_size_and_a_lying_one_by_its_bytes(tmp_path):
    bomb = make_zip(tmp_path / "images.zip", content={"bomb.jpg": bytes(50 * LIMIT)})
    found = read_all(list_source(str(bomb), 0, CONFIG))["bomb.jpg"]
    assert isinstance(found, BadImageError)
    assert found.cause == Cause.TOO_MANY_PIXELS

    item = list_source(str(bomb), 0, CONFIG).items[0]
    liar = FileItem(item.label, item.container, item.start, item.length, item.compression, item.crc, size=1000)
    [(_, found)] = read_files(Storage(str(tmp_path), CONFIG), [liar], LIMIT)
    assert isinstance(found, BadImageError)
    assert found.cause == Cause.CORRUPT


def test_an_encrypted_member_is_a_bad_image(tmp_path):
    data = bytearray(make_zip(tmp_path / "images.zip", content={"a.jpg": b"secret" * 9}).read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8] |= 1
    (tmp_path / "images.zip").write_bytes(data)
    found = read_all(list_source(str(tmp_path / "images.zip"), 0, CONFIG))["a.jpg"]
    assert isinstance(found, BadImageError)
    assert "encrypted" in found.detail


def test_files_of_other_image_formats_are_listed_so_that_they_are_counted(tmp_path):
    (tmp_path / "a.bmp").write_bytes(b"BM" + bytes(60))
    assert [item.label for item in list_source(str(tmp_path), 0, CONFIG).items] == ["a.bmp"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "nowhere"])
def test_an_empty_source_says_what_was_looked_for(tmp_path, kind):
    source = tmp_path / {"folder": "folder", "zip": "empty.zip", "tar": "empty.tar", "nowhere": "nowhere"}[kind]
    if kind == "folder":
        source.mkdir()
        (source / "readme.txt").write_text("no images")
    elif kind == "zip":
        make_zip(source, content={})
    elif kind == "tar":
        tarfile.open(source, "w").close()
    with pytest.raises(DataError, match=r"holds no images: files that end in \.jpg.* check prepare\.source"):
        list_source(str(source), 0, CONFIG)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.npz"])
def test_a_missing_archive_is_named(tmp_path, name):
    with pytest.raises(DataError, match=f"{name} does not exist; check prepare.source"):
        list_source(str(tmp_path / name), 0, CONFIG)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"not an archive" * 100])
def test_a_broken_archive_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is not a whole archive|cannot be read as npz|holds no images"):
        list_source(str(tmp_path / name), 0, CONFIG)


def test_a_truncated_zip_is_named(tmp_path):
    path = make_zip(tmp_path / "images.zip")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="is not a whole archive"):
        list_source(str(path), 0, CONFIG)


def test_compressed_tars_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match=r"unpack it to a plain \.tar or a zip"):
        list_source(str(tmp_path / "images.tar.gz"), 0, CONFIG)


def test_a_file_that_vanishes_is_no_bad_image(tmp_path):
    listing = list_source(str(make_folder(tmp_path)), 0, CONFIG)
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(DataError, match="has vanished"):
        read_all(listing)


def test_a_file_that_shrinks_while_it_is_read_is_a_fault_of_storage(tmp_path):
    listing = list_source(str(make_folder(tmp_path)), 0, CONFIG)
    (tmp_path / "c.webp").write_bytes(b"short")
    with pytest.raises(StorageError, match=r"c\.webp gave 5 bytes of 5000"):
        read_all(listing)


def test_the_digest_changes_with_the_files(tmp_path):
    first = list_source(str(make_folder(tmp_path)), 0, CONFIG).digest()
    assert list_source(str(tmp_path), 0, CONFIG).digest() == first
    (tmp_path / "new.jpg").write_bytes(b"new")
    assert list_source(str(tmp_path), 0, CONFIG).digest() != first


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_binary_arrays_become_black_and_white(tmp_path, save):
    shapes = np.zeros((4, 16, 16), np.uint8)
    shapes[:, 4:8] = 1
    save(tmp_path / "a.npz", imgs=shapes, latents=np.arange(4))
    listing = list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    assert isinstance(listing, RowListing)
    assert np.array_equal(listing.loaded().images, shapes[..., None] * 255)


def test_an_array_that_only_begins_in_black_and_white_is_refused(tmp_path):
    images = np.ones((80, 8, 8), np.uint8)
    images[79] = 200
    np.savez(tmp_path / "a.npz", imgs=images)
    listing = list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    with pytest.raises(DataError, match="only 0 and 1 in its first 64 images and 200 in another"):
        listing.loaded()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(9, 16, 20), (9, 16, 20, 1), (9, 16, 20, 3)])
def test_rows_of_an_array_are_read_in_any_order_and_more_than_once(tmp_path, shape, save):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save(tmp_path / "a.npz", before=np.arange(3), images=images)
    listing = list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    positions = np.array([7, 2, 3, 8, 2])
    assert np.array_equal(listing.part(positions).loaded().images, images.reshape(9, 16, 20, -1)[positions])
    assert listing.part(positions[:0]).loaded().images.shape[0] == 0


def test_a_stored_array_is_sought_through_and_not_read(tmp_path):
    """Two images of many cost two reads: the bytes between them may be damaged and nobody notices."""
    images = np.random.default_rng(0).integers(0, 256, (5000, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    place = data.index(images[2500].tobytes())
    data[place : place + 192] = bytes(192)
    (tmp_path / "a.npz").write_bytes(data)
    found = list_source(str(tmp_path / "a.npz"), 0, CONFIG).part(np.array([4999, 70])).loaded().images
    assert np.array_equal(found, images[[4999, 70]])


def test_a_truncated_npz_is_named_when_it_is_listed_or_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).integers(0, 256, (50, 8, 8), dtype=np.uint8))
    listing = list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-30])
    with pytest.raises(DataError, match="cannot be read as npz"):
        listing.loaded()
    with pytest.raises(DataError, match="cannot be read as npz"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


def test_an_array_in_fortran_order_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(np.zeros((4, 8, 9), np.uint8)))
    with pytest.raises(DataError, match="Fortran order"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8), np.float32), np.zeros((2, 8, 8, 4), np.uint8), np.zeros(5, np.uint8)]
)
def test_other_arrays_are_refused_with_what_is_needed(tmp_path, images):
    np.savez(tmp_path / "a.npz", imgs=images)
    with pytest.raises(DataError, match=r"array imgs of .* needed is uint8"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


def test_arrays_of_another_name_are_listed_in_the_message(tmp_path):
    np.savez(tmp_path / "a.npz", pictures=np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(DataError, match="holds the arrays pictures; name the images imgs or images"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


def test_a_pickle_in_an_npz_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.savez(tmp_path / "a.npz", imgs=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match="allow_pickle"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    assert not (tmp_path / "executed").exists()


def test_faces_need_a_number():
    assert list_source("faces", 12, CONFIG) == DrawnListing("faces", 12)
    with pytest.raises(ConfigError, match=r"prepare\.num_images=0"):
        list_source("faces", 0, CONFIG)
