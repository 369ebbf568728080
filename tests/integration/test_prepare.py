"""``prepare`` on real Ray Data: bad images are skipped and listed, runs go on, and other data are not mixed in."""

from __future__ import annotations

import io
import json
import os
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gem_ray.config import DataConfig, GemConfig, PrepareConfig, StorageConfig
from gem_ray.data import rounds
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.data.loader import build_datasets, holdout_records
from gem_ray.data.manifest import MANIFEST, read_manifest
from gem_ray.data.prepare import PrepareReport, prepare
from gem_ray.data.shards import read_records
from gem_ray.errors import DataError, StorageError
from gem_ray.graph.relations import relations_from_values
from gem_ray.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_4_cpus")]


def make_config(target: Path | str, storage: StorageConfig | None = None, **options: object) -> GemConfig:
    prepare_config = PrepareConfig(**({"image_size": 16, "num_images": 0} | options))
    return GemConfig(data=DataConfig(uri=str(target)), prepare=prepare_config, storage=storage or StorageConfig())


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def good_image(number: int, format: str = "JPEG") -> bytes:
    """A flat colour that tells the number, so that records can be traced back."""
    return encoded(Image.new("RGB", (20, 24), (number % 250, 100, 200)), format, quality=95)


def noise_image(side: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


BAD = {
    "truncated.jpg": (encoded(noise_image(), "JPEG")[:2000], "corrupt"),
    "truncated.png": (encoded(noise_image(), "PNG")[:2000], "corrupt"),
    "zero.jpg": (b"", "empty"),
    "text.jpg": (b"<html>404</html>", "not_an_image"),
    "pixel.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
    "bomb.png": (encoded(Image.new("L", (5000, 4000)), "PNG"), "too_many_pixels"),
    "other.bmp": (encoded(noise_image(), "BMP"), "not_an_image"),
}
UNUSUAL = {
    "cmyk.jpg": encoded(noise_image().convert("CMYK"), "JPEG"),
    "grey16.png": encoded(Image.fromarray(np.full((30, 30), 40_000, np.uint16)), "PNG"),
    "really_png.jpg": encoded(noise_image(), "PNG"),
    "turned.jpg": encoded(
        noise_image(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    ),
}


def fill(folder: Path, count: int, bad: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:04d}.jpg").write_bytes(good_image(number))
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    return folder


def reds(report: PrepareReport, target: Path | str) -> list[int]:
    records = read_records(Storage(str(target), StorageConfig()), report.manifest, 0, report.manifest.count)
    return records.images[:, 8, 8, 0].tolist()


def test_faces_are_the_faces_of_the_seed_with_their_attributes(tmp_path):
    report = prepare(make_config(tmp_path, source="faces", num_images=50, seed=9))
    storage = Storage(str(tmp_path), StorageConfig())
    assert report.manifest == read_manifest(storage)
    assert report.manifest.attributes == ATTRIBUTES
    records = read_records(storage, report.manifest, 0, 50)
    for number in (0, 17, 49):
        image, attributes = face(9, number, 16)
        assert np.array_equal(records.images[number], image)
        assert np.array_equal(records.attributes[number], attributes.astype(np.float32))
    assert sorted(os.listdir(tmp_path)) == ["manifest.json", "shards", "skipped.json"]


def test_bad_images_are_skipped_counted_and_listed_and_unusual_ones_kept(tmp_path):
    source = fill(tmp_path / "images", 40, UNUSUAL | {name: data for name, (data, _) in BAD.items()})
    report = prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=0.2))
    assert report.manifest.count == 40 + len(UNUSUAL)
    assert report.manifest.num_skipped == len(BAD)
    listed = json.loads((tmp_path / "data" / "skipped.json").read_text())
    assert {record["name"]: record["cause"] for record in listed["records"]} == {
        name: cause for name, (_, cause) in BAD.items()
    }
    assert (
        listed["counts"]
        == report.causes
        == {cause: [other for _, other in BAD.values()].count(cause) for _, cause in BAD.values()}
    )
    assert "skipped" in str(report)


def test_too_many_bad_images_fail_with_the_causes_and_write_no_manifest(tmp_path):
    source = fill(tmp_path / "images", 20, {name: data for name, (data, _) in BAD.items()})
    with pytest.raises(DataError) as caught:
        prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=0.05))
    message = str(caught.value)
    assert "of 27 images" in message
    assert "prepare.max_bad_share=0.05" in message
    assert any(cause in message for _, cause in BAD.values())
    assert (tmp_path / "data" / "skipped.json").exists()
    assert not (tmp_path / "data" / "manifest.json").exists()
    # A person who finds that acceptable raises the limit, and nothing is done twice.
    report = prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=0.5))
    assert report.manifest.count == 20
    assert report.num_kept > 0


def test_a_source_of_bad_images_alone_is_an_error_even_where_all_may_be_bad(tmp_path):
    source = fill(tmp_path / "images", 0, {"zero.jpg": b"", "text.jpg": b"text"})
    with pytest.raises(DataError, match="not one image of .* can be used"):
        prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=1.0))


def test_an_empty_source_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        prepare(make_config(tmp_path / "data", source=str(tmp_path / "images")))


def test_records_are_shuffled_by_the_seed(tmp_path):
    source = fill(tmp_path / "images", 60, {})
    orders = {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        orders[name] = reds(prepare(make_config(tmp_path / name, source=str(source), seed=seed)), tmp_path / name)
    assert orders["first"] == orders["again"] != orders["other"]
    assert np.abs(np.sort(orders["first"]) - np.arange(60)).max() <= 3
    # The last records are a fair sample of all, whatever order the files are named in.
    assert 10 < np.mean(orders["first"][-20:]) < 50
    assert (tmp_path / "first" / "shards" / "00000.parquet").read_bytes() == (
        tmp_path / "again" / "shards" / "00000.parquet"
    ).read_bytes()


def test_num_images_takes_a_part(tmp_path):
    source = fill(tmp_path / "images", 60, {})
    assert prepare(make_config(tmp_path / "data", source=str(source), num_images=25)).manifest.count == 25


def test_a_second_run_finds_the_data_complete(tmp_path):
    config = make_config(tmp_path, source="faces", num_images=20)
    prepare(config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    report = prepare(config)
    assert str(report).startswith("already complete: 20 images of 16 x 16")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_images": 30}, "num_images=20 then, 30 now"),
        ({"image_size": 8}, "image_size=16 then, 8 now"),
        ({"seed": 1}, "seed=0 then, 1 now"),
        ({"source": "elsewhere.zip"}, "source='faces' then, 'elsewhere.zip' now"),
    ],
)
def test_other_data_under_the_same_uri_are_refused_by_name(tmp_path, change, named):
    prepare(make_config(tmp_path, source="faces", num_images=20))
    with pytest.raises(DataError, match=named):
        prepare(make_config(tmp_path, **({"source": "faces", "num_images": 20} | change)))


def interrupted(tmp_path: Path, source: Path) -> dict[Path, int]:
    """Data as a run leaves them that is stopped after a part of the shards; when these were written."""
    with pytest.raises(DataError, match="cannot be used"):
        prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=0.0, concurrency=1))
    shards = sorted((tmp_path / "data" / "shards").iterdir())
    # A shard without its note is one that was being written when the run was stopped.
    (tmp_path / "data" / "progress" / "00000.json").unlink()
    assert len(shards) > 1
    return {path: path.stat().st_mtime_ns for path in shards}


def test_an_interrupted_run_goes_on_and_keeps_what_was_finished(tmp_path):
    source = fill(tmp_path / "images", 60, {"zero.jpg": b""})
    written = interrupted(tmp_path, source)
    config = make_config(tmp_path / "data", source=str(source), max_bad_share=0.1)
    report = prepare(config)
    assert report.manifest.count == 60
    assert 0 < report.num_kept < 60
    kept = [path for path, time in written.items() if path.stat().st_mtime_ns == time]
    assert len(kept) == len(written) - 1
    whole = prepare(make_config(tmp_path / "whole", source=str(source), max_bad_share=0.1))
    assert whole.manifest.shards == report.manifest.shards


def test_an_interrupted_run_does_not_go_on_from_a_changed_source(tmp_path):
    source = fill(tmp_path / "images", 60, {"zero.jpg": b""})
    interrupted(tmp_path, source)
    (source / "new.jpg").write_bytes(good_image(1))
    with pytest.raises(DataError, match="images=61 then, 62 now, listing="):
        prepare(make_config(tmp_path / "data", source=str(source), max_bad_share=0.1))


def test_a_zip_gives_the_records_of_the_folder_it_was_made_from(tmp_path):
    source = fill(tmp_path / "images", 30, {})
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in source.iterdir():
            archive.write(path, path.name)
    folder = prepare(make_config(tmp_path / "a", source=str(source)))
    zipped = prepare(make_config(tmp_path / "b", source=str(tmp_path / "images.zip")))
    assert [shard.sha256 for shard in folder.manifest.shards] == [shard.sha256 for shard in zipped.manifest.shards]


def test_arrays_are_prepared(tmp_path):
    shapes = (np.random.default_rng(0).random((20, 16, 16)) > 0.5).astype(np.uint8)
    np.savez_compressed(tmp_path / "shapes.npz", imgs=shapes)
    report = prepare(make_config(tmp_path / "data", source=str(tmp_path / "shapes.npz")))
    order = np.random.default_rng((0, 20)).permutation(20)
    storage = Storage(str(tmp_path / "data"), StorageConfig())
    records = read_records(storage, report.manifest, 0, 20)
    assert np.array_equal(records.images[..., 0], shapes[order] * 255)


def test_shards_keep_to_their_size_limit(tmp_path):
    report = prepare(make_config(tmp_path, source="faces", num_images=40, image_size=200, shard_mb=1))
    # 120,000 bytes a face: eight in a megabyte.
    assert {shard.count for shard in report.manifest.shards} <= {5, 8}
    assert all(shard.num_bytes < 1.1e6 for shard in report.manifest.shards)


def test_storage_that_fails_is_never_a_bad_image(tmp_path):
    """The target turns read-only (a file in place of its folder): the run fails, and no image is blamed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "shards").write_text("a file in the way")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        prepare(make_config(tmp_path / "data", source="faces", num_images=20))
    assert not (tmp_path / "data" / "skipped.json").exists()


SIZES = (3, 5, 8, 8)
NAMES = ("shape", "scale", "x", "y")


def with_holdout(config: GemConfig, holdout: int) -> GemConfig:
    config.data.holdout = holdout
    return config


def write_grid(path: Path) -> np.ndarray:
    """A dSprites-like grid whose images carry their number in four grey squares; the factors."""
    classes = np.array(list(product(*map(range, SIZES))))
    images = np.kron(classes.reshape(-1, 2, 2) * 25 + 40, np.ones((8, 8))).astype(np.uint8)
    np.savez_compressed(path, imgs=images)
    return classes / (np.array(SIZES) - 1)


def factors_in_pixels(images: np.ndarray) -> np.ndarray:
    """What ``write_grid`` has drawn."""
    grey = images[:, [4, 4, 12, 12], [4, 12, 4, 12], 0].astype(float)
    return np.rint((grey - 40) / 25) / (np.array(SIZES) - 1)


def test_a_correlated_grid_keeps_factors_relations_and_a_hold_out_of_its_own(tmp_path, monkeypatch):
    grid = str(tmp_path / "grid.npz")
    write_grid(tmp_path / "grid.npz")
    monkeypatch.setattr(rounds, "LOADED_BYTES", 1100 * 256)  # two rounds of reading
    options = dict(factor_names=list(NAMES), factor_sizes=list(SIZES), correlate=["scale", "x"], num_images=2000)
    config = with_holdout(make_config(tmp_path / "data", source=grid, **options), 100)
    report = prepare(config)
    storage, manifest = Storage(str(tmp_path / "data"), StorageConfig()), report.manifest
    assert read_manifest(storage) == manifest
    assert manifest.attributes == NAMES
    assert manifest.splits == {"train": 1900, "test": 100}
    assert "(1,900 train, 100 test)" in str(report)
    records = read_records(storage, manifest, 0, manifest.count)
    assert np.allclose(records.attributes, factors_in_pixels(records.images))
    assert np.abs(relations_from_values(records.attributes).strength - np.array(manifest.relations)).max() < 0.08
    assert manifest.relations[1][2] > 0.6
    held_out = holdout_records(storage, manifest, config.data)
    trained = {row.tobytes() for row in records.attributes[:1900]}
    assert len(held_out.images) == 100
    assert not {row.tobytes() for row in held_out.attributes} & trained

    changed = make_config(tmp_path / "data", source=grid, **(options | {"correlation_width": 0.3}))
    with pytest.raises(DataError, match=r"correlation_width=None then, 0\.3 now"):
        prepare(changed)


def write_celeba(folder: Path, parts: list[int]) -> Path:
    (folder / "img_align_celeba").mkdir(parents=True)
    lines, partition = [str(len(parts)), "Male No_Beard"], []
    for number, part in enumerate(parts):
        buffer = io.BytesIO()
        Image.new("RGB", (178, 218), (3 * number, 50, 200)).save(buffer, "PNG")
        name = f"{number + 1:06d}.jpg"
        (folder / "img_align_celeba" / name).write_bytes(buffer.getvalue())
        lines.append(f"{name} {1 if number % 2 else -1} {-1 if number % 3 else 1}")
        partition.append(f"{name} {part}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines))
    (folder / "list_eval_partition.txt").write_text("\n".join(partition))
    return folder


def test_splits_of_celeba_stay_apart_and_labels_stay_with_their_images(tmp_path):
    parts = [(2, 0, 0, 1, 0, 0)[number % 6] for number in range(72)]
    source = write_celeba(tmp_path / "celeba", parts)
    # An image that cannot be used is missing from its own split.
    (source / "img_align_celeba" / "000001.jpg").write_bytes(b"")
    config = with_holdout(make_config(tmp_path / "data", source=str(source), crop=148, max_bad_share=0.1), 10)
    manifest = prepare(config).manifest
    assert manifest.splits == {"train": 48, "valid": 12, "test": 11}
    assert manifest.attributes == ("male", "beard")
    storage = Storage(str(tmp_path / "data"), StorageConfig())
    records = read_records(storage, manifest, 0, manifest.count)
    number = np.rint(records.images[:, 8, 8, 0] / 3).astype(int)
    assert [parts[i] for i in number] == [0] * 48 + [1] * 12 + [2] * 11
    assert np.array_equal(records.attributes, np.stack([number % 2, number % 3 > 0], axis=1))
    assert manifest.num_train(10) == 48
    config.data.batch_size = 49
    with pytest.raises(DataError, match="is more than the 48 records"):
        build_datasets(storage, manifest, config)

    alone = prepare(make_config(tmp_path / "test", source=str(source), crop=148, max_bad_share=0.1, split="test"))
    assert alone.manifest.splits == {"test": 11}
    assert json.loads((tmp_path / "test" / MANIFEST).read_text())["settings"]["split"] == "test"


def shared_data() -> Path:
    root = Path(__file__).parents[2]
    return Path(os.environ.get("GEM_RAY_TEST_DATA", root.parent / "shared" / "data"))


@pytest.mark.parametrize(
    ("name", "count"),
    [("sfhq_faces/sfhq_montage_faces_128.zip", 550), ("sfhq_t2i_faces/sfhq_t2i_montage_tiles_128.zip", 600)],
)
def test_real_photographs_are_prepared(tmp_path, name, count):
    source = shared_data() / name
    if not source.exists():
        pytest.skip(f"{source} is absent; set GEM_RAY_TEST_DATA to the folder that holds it")
    report = prepare(make_config(tmp_path, source=str(source), image_size=32, num_images=600))
    assert report.manifest.count == count
    assert report.manifest.num_skipped == 0
    images = read_records(Storage(str(tmp_path), StorageConfig()), report.manifest, 0, count).images
    # Photographs fill the range, differ from each other, and are no noise: neighbouring pixels are alike.
    assert 60 < images.mean() < 190
    assert images.std(axis=0).mean() > 30
    assert np.abs(np.diff(images.astype(int), axis=2)).mean() < 0.5 * images.std()
