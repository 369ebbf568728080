"""Arrays in an npz file are known by their headers before they are read, and are read some bytes at a time."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data import npz
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError

CONFIG = StorageConfig()
BLACK = np.zeros((16, 1500, 1500), np.uint8)


def test_too_large_images_are_refused_before_one_is_read(tmp_path, peak_bytes):
    np.savez_compressed(tmp_path / "a.npz", imgs=BLACK)
    with peak_bytes() as peak, pytest.raises(DataError, match="1500 x 1500 pixels, over prepare.max_pixels=1000000"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG, max_pixels=1_000_000)
    assert peak[0] < 1_000_000


def test_images_are_looked_at_and_read_some_bytes_at_a_time(tmp_path, monkeypatch, peak_bytes):
    np.savez_compressed(tmp_path / "a.npz", imgs=BLACK)
    monkeypatch.setattr(npz, "READ_AT_ONCE_BYTES", 100_000)
    with peak_bytes() as peak:
        reader = list_source(str(tmp_path / "a.npz"), 0, CONFIG).reader
    assert peak[0] < 2_000_000
    assert reader.binary
    with peak_bytes() as peak:
        assert reader.read(np.arange(4)).shape == (4, 1500, 1500, 1)
    assert peak[0] < 2.3 * BLACK[:4].nbytes  # them, and them times 255


@pytest.mark.parametrize("size", [8, 7])
def test_images_too_small_to_be_used_are_refused(tmp_path, size):
    np.savez(tmp_path / "a.npz", imgs=np.zeros((3, 20, size), np.uint8))
    if size == 8:
        assert len(list_source(str(tmp_path / "a.npz"), 0, CONFIG)) == 3
        return
    with pytest.raises(DataError, match="7 x 20 pixels; the shorter side needs 8"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


def test_labels_over_the_limit_are_refused_before_they_are_read(tmp_path, monkeypatch, peak_bytes):
    labels = np.zeros((4, 10**6))
    np.savez_compressed(tmp_path / "a.npz", imgs=BLACK[:4, :8, :8], latents_values=labels)
    monkeypatch.setattr(npz, "MOST_LABEL_BYTES", 10**6)
    with peak_bytes() as peak, pytest.raises(DataError, match="labels may take 1,000,000"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    assert peak[0] < 1_000_000


def test_a_header_that_says_more_than_the_file_holds_is_damage(tmp_path, peak_bytes):
    header = io.BytesIO()
    said = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 8, 8)}
    np.lib.format.write_array_header_1_0(header, said)
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imgs.npy", header.getvalue() + bytes(6400))
    with peak_bytes() as peak, pytest.raises(DataError, match=r"imgs is uint8 \[1000000000, 8, 8\] by its header"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    assert peak[0] < 1_000_000
