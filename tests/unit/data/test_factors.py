"""Factors of dSprites in its layouts, and of any full grid by its sizes; the real files where they are at hand."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.correlated import is_full_grid
from gem_ray.data.factors import with_named_factors
from gem_ray.data.listings import ArrayListing, DrawnListing, KnownListing, RowListing
from gem_ray.data.sources import list_source
from gem_ray.errors import ConfigError, DataError

CONFIG = StorageConfig()
SHARED = Path(os.environ.get("GEM_RAY_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))


class Bomb:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def write_official_dsprites(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The layout of ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, small; images and values."""
    sizes = np.array([1, 2, 3, 2, 2, 3])
    classes = np.array(list(product(*map(range, sizes))))
    values = np.array([[1, 1 + s, 0.5 + 0.25 * c, np.pi * o, x, y / 2] for _, s, c, o, x, y in classes], np.float64)
    images = np.zeros((len(classes), 16, 16), np.uint8)
    for number, (_, shape, scale, _, x, y) in enumerate(classes):
        images[number, 4 * y : 4 * y + 4 + scale, 6 * x : 6 * x + 5 + shape] = 1
    metadata = np.array({"latents_sizes": sizes, "latents_names": ("color", "shape"), "bomb": Bomb(path / "run")})
    np.savez_compressed(
        path / "dsprites.npz", metadata=metadata, imgs=images, latents_classes=classes, latents_values=values
    )
    return images, values


def known(source: Path) -> KnownListing:
    listing = list_source(str(source), 0, CONFIG)
    assert isinstance(listing, KnownListing)
    return listing


def loaded(listing: KnownListing, positions: list[int]) -> np.ndarray:
    part = listing.part(np.array(positions)).images
    assert isinstance(part, RowListing)
    return part.loaded().images


def test_official_dsprites_keep_their_factors_and_the_metadata_is_not_unpickled(tmp_path):
    images, values = write_official_dsprites(tmp_path)
    listing = known(tmp_path / "dsprites.npz")
    assert listing.names == ("shape", "scale", "orientation", "x", "y")  # the colour never varies
    assert len(listing) == 72
    assert np.array_equal(listing.values[:, 0], values[:, 1] - 1)
    assert np.allclose(listing.values[:, 1], (values[:, 2] - 0.5) / 0.5)
    assert listing.values.min() == 0.0
    assert listing.values.max() == 1.0
    assert np.array_equal(loaded(listing, [70, 3]), images[[70, 3], ..., None] * 255)
    assert not (tmp_path / "run").exists()


def test_labels_of_another_number_of_images_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", imgs=np.zeros((4, 8, 8), np.uint8), latents_classes=np.zeros((3, 5), int))
    with pytest.raises(DataError, match=r"int64 \[3, 5\]; 4 images need one row"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)


def test_labels_of_python_objects_are_refused_and_not_unpickled(tmp_path):
    labels = np.array([[Bomb(tmp_path / "run")]], dtype=object)
    np.savez(tmp_path / "a.npz", imgs=np.zeros((1, 8, 8), np.uint8), latents_values=labels)
    with pytest.raises(DataError, match="allow_pickle"):
        list_source(str(tmp_path / "a.npz"), 0, CONFIG)
    assert not (tmp_path / "run").exists()


def write_mpi3d(path: Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (2 * 3 * 4, 8, 8, 3), dtype=np.uint8)
    np.savez(path / "mpi3d_toy.npz", images=images)
    return images


def test_a_grid_in_lexicographic_order_gets_its_factors_from_its_sizes(tmp_path):
    """MPI3D: an npz of images alone, whose order is told in its paper."""
    images = write_mpi3d(tmp_path)
    names, sizes = ["object colour", "object size", "horizontal axis"], [2, 3, 4]
    listing = with_named_factors(list_source(str(tmp_path / "mpi3d_toy.npz"), 0, CONFIG), names, sizes)
    assert isinstance(listing, KnownListing)
    assert listing.names == tuple(names)
    assert np.allclose(listing.values[0], 0)
    assert np.allclose(listing.values[-1], 1)
    assert np.allclose(listing.values[1 * 12 + 2 * 4 + 1], [1, 1, 1 / 3])
    assert is_full_grid(listing.values)
    assert np.array_equal(loaded(listing, [21]), images[[21]])


def test_sizes_that_do_not_fit_are_refused_with_both_numbers(tmp_path):
    write_mpi3d(tmp_path)
    listing = list_source(str(tmp_path / "mpi3d_toy.npz"), 0, CONFIG)
    with pytest.raises(ConfigError, match="a grid of 25 images, the source has 24"):
        with_named_factors(listing, ["a", "b"], [5, 5])
    with pytest.raises(ConfigError, match="labels of 0"):
        with_named_factors(listing, ["a", "b"], [])
    with pytest.raises(ConfigError, match="faces has factors of its own"):
        with_named_factors(DrawnListing("faces", 6), ["a", "b"], [2, 3])


def test_labels_can_be_renamed(tmp_path):
    write_official_dsprites(tmp_path)
    listing = with_named_factors(known(tmp_path / "dsprites.npz"), list("abcde"), [])
    assert isinstance(listing, KnownListing)
    assert listing.names == tuple("abcde")


def test_what_is_known_is_part_of_the_digest():
    images = ArrayListing(np.zeros((6, 8, 8, 1), np.uint8))
    one, other = (with_named_factors(images, ["a", "b"], sizes) for sizes in ([2, 3], [3, 2]))
    assert images.digest() != one.digest() != other.digest() != images.digest()


@pytest.mark.parametrize(
    ("name", "sizes", "full"),
    [("dsprites_downsampled", (3, 6, 10, 16, 16), True), ("dsprites_subset", (3, 6, 40, 32, 32), False)],
)
def test_the_real_dsprites(name, sizes, full):
    source = SHARED / "dsprites" / f"{name}.npz"
    if not source.exists():
        pytest.skip(f"{source} is absent; set GEM_RAY_TEST_DATA to the folder that holds it")
    listing = known(source)
    assert listing.names == ("shape", "scale", "orientation", "x", "y")
    assert tuple(len(np.unique(column)) for column in listing.values.T) == sizes
    assert is_full_grid(listing.values) == full
    # Sprites lie where their factors say: x and y of the centre of mass follow them, and the area follows the scale.
    positions = np.linspace(0, len(listing) - 1, 300).astype(int)
    images = loaded(listing, positions.tolist())[..., 0] / 255.0
    assert set(np.unique(images)) == {0.0, 1.0}
    area = images.sum((1, 2))
    rows, columns = (
        np.einsum("nij,i->n", images.transpose(axes), np.arange(64)) / area for axes in ((0, 1, 2), (0, 2, 1))
    )
    values = listing.values[positions]
    assert np.corrcoef(columns, values[:, 3])[0, 1] > 0.99
    assert np.corrcoef(rows, values[:, 4])[0, 1] > 0.99
    assert np.corrcoef(area, values[:, 1])[0, 1] > 0.6
