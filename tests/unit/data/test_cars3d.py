"""Cars3D's .mat files, small."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from gem_ray.config import StorageConfig
from gem_ray.data import cars3d
from gem_ray.data.correlated import is_full_grid
from gem_ray.data.listings import KnownListing, RowListing
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError

CONFIG = StorageConfig()
AZIMUTHS, ELEVATIONS = 5, 2


def write_cars(folder, count: int = 3) -> np.ndarray:
    """Views [cars, H, W, 3, azimuths, elevations] in the layout of ``data/cars``."""
    folder.mkdir()
    views = np.random.default_rng(0).integers(0, 256, (count, 9, 9, 3, AZIMUTHS, ELEVATIONS), dtype=np.uint8)
    for car, images in enumerate(views):
        savemat(folder / f"car_{car:03d}_mesh.mat", {"im": images}, do_compression=True)
    return views


def test_views_come_with_elevation_azimuth_and_object(tmp_path):
    views = write_cars(tmp_path / "cars")
    listing = list_source(str(tmp_path / "cars"), 0, CONFIG)
    assert isinstance(listing, KnownListing)
    assert listing.names == ("elevation", "azimuth", "object type")
    assert len(listing) == 3 * AZIMUTHS * ELEVATIONS
    assert is_full_grid(listing.values)
    positions = np.array([29, 0, 13, 5])
    part = listing.part(positions)
    assert isinstance(part.images, RowListing)
    for image, (elevation, azimuth, car) in zip(part.images.loaded().images, part.values, strict=True):
        place = round(float(car) * 2), round(float(azimuth) * 4), round(float(elevation))
        assert np.array_equal(image, views[place[0], ..., place[1], place[2]])


def test_a_file_that_is_no_car_is_named(tmp_path):
    write_cars(tmp_path / "cars")
    savemat(tmp_path / "cars" / "car_001_mesh.mat", {"im": np.zeros((4, 9, 9, 3), np.uint8)})
    listing = list_source(str(tmp_path / "cars"), 0, CONFIG)
    with pytest.raises(DataError, match=r"im of .*car_001_mesh\.mat is uint8 \[4, 9, 9, 3\]; a car is"):
        listing.images.loaded()


@pytest.mark.parametrize("content", [b"", b"no MATLAB file" * 40])
def test_a_damaged_file_is_named(tmp_path, content):
    write_cars(tmp_path / "cars")
    (tmp_path / "cars" / "car_000_mesh.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"car_000_mesh\.mat cannot be read as a MATLAB file"):
        list_source(str(tmp_path / "cars"), 0, CONFIG)


def test_a_file_that_unpacks_to_more_than_a_car_is_refused_before_it_is_whole(tmp_path, monkeypatch, peak_bytes):
    (tmp_path / "cars").mkdir()
    views = np.zeros((400, 400, 3, AZIMUTHS, ELEVATIONS), np.uint8)
    savemat(tmp_path / "cars" / "car_000_mesh.mat", {"im": views}, do_compression=True)
    with pytest.raises(DataError, match=r"car_000_mesh\.mat holds .* 400 x 400 pixels, over"):
        list_source(str(tmp_path / "cars"), 0, CONFIG, max_pixels=400**2 - 1)
    assert len(list_source(str(tmp_path / "cars"), 0, CONFIG)) == AZIMUTHS * ELEVATIONS
    monkeypatch.setattr(cars3d, "MOST_CAR_BYTES", views.nbytes - 1)
    monkeypatch.setattr(cars3d, "UNPACKED_AT_ONCE", 10_000)
    with peak_bytes() as peak, pytest.raises(DataError, match=r"car_000_mesh\.mat unpacks to over 4,799,999 bytes"):
        list_source(str(tmp_path / "cars"), 0, CONFIG)
    assert peak[0] < 1_000_000
