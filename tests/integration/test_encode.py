"""The codes of a data set through Ray Data, gone on with; a model out of S3."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import gem_ray
from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, EncodeConfig, GemConfig, ModelConfig, RunConfig, StorageConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import ConfigError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.encoding import encode_data
from gem_ray.models.gem import Gem
from gem_ray.storage import Storage

SIDE, NUM_IMAGES = 32, 90
ATTRIBUTES = ("male", "beard")


def write_run(uri: str, storage: StorageConfig) -> GemConfig:
    """A run with random weights, and data in two shards."""
    data = Storage(f"{uri}/data", storage)
    images = np.random.default_rng(2).integers(0, 256, (NUM_IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    entries = []
    for number, (start, stop) in enumerate(((0, 50), (50, NUM_IMAGES))):
        shard = encode_shard(images[start:stop], np.arange(start, stop), None, ())
        data.write_bytes(f"{number}.parquet", shard)
        digest = hashlib.sha256(shard).hexdigest()
        entries.append(ShardEntry(name=f"{number}.parquet", count=stop - start, num_bytes=len(shard), sha256=digest))
    write_manifest(
        data,
        Manifest(
            shape=(SIDE, SIDE, 3),
            shards=tuple(entries),
            source="photos",
            attributes=None,
            seed=0,
            num_skipped=0,
            settings={"crop": 0, "max_pixels": 1_000_000},
        ),
    )
    config = GemConfig(
        run=RunConfig(uri=uri, name="run"),
        storage=storage,
        data=DataConfig(uri=data.uri, holdout=10),
        model=ModelConfig(attributes=list(ATTRIBUTES), residual_dim=3, network="burgess"),
        encode=EncodeConfig(part_images=20, workers=2),
    )
    torch.manual_seed(0)
    gem = Gem(config.model, SIDE)
    graph = DisGraph.from_strength(ATTRIBUTES, np.array([[0.0, 0.3], [0.7, 0.0]]), np.full((2, 2), 0.1))
    checkpoint = Checkpoint(
        step=3,
        model={f"gem.{name}": tensor for name, tensor in gem.state_dict().items()},
        graph_json=graph.to_json(),
        state={"config": config_to_json(config), "image_size": SIDE},
    )
    save_checkpoint(Storage(f"{uri}/run", storage), checkpoint, keep=1)
    return config


def rows_of(folder: str) -> dict[str, np.ndarray]:
    parts = [pq.read_table(path) for path in sorted(Path(folder).glob("*.parquet"))]
    return {
        name: np.concatenate([np.stack(part[name].to_numpy(zero_copy_only=False)) for part in parts])
        for name in ("index", "mu", "z_rel", "node:beard")
    }


@pytest.mark.slow
@pytest.mark.ray
def test_encoding_goes_on_after_its_last_part_and_gives_the_codes_of_the_model(ray_4_cpus: None, tmp_path: Path):
    config = write_run(str(tmp_path), StorageConfig())
    some = encode_data(replace(config, encode=replace(config.encode, images=50)))
    assert (some.images, some.fresh) == (50, 50)
    before = {path: path.stat().st_mtime_ns for path in Path(some.folder).iterdir()}
    assert len(before) == 1 + 3
    whole = encode_data(config)
    assert (whole.folder, whole.images, whole.fresh) == (some.folder, NUM_IMAGES, 40)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in Path(some.folder).iterdir()}.items()
    again = encode_data(config)
    assert again.fresh == 0
    assert "all of them before" in str(again)

    found = rows_of(whole.folder)
    np.testing.assert_array_equal(found["index"], np.arange(NUM_IMAGES))
    model = gem_ray.load(tmp_path / "run")
    codes = model.encode(torch.cat([model.data.training_images(80, SIDE), model.data.held_out_images(0, 10, SIDE)]))
    np.testing.assert_allclose(found["mu"], codes.mu, atol=1e-5)
    np.testing.assert_allclose(found["z_rel"], codes.z_rel, atol=1e-5)
    np.testing.assert_allclose(found["node:beard"], codes.mu[:, 1], atol=1e-5)

    with pytest.raises(ConfigError, match=r"encode\.workers=99"):
        encode_data(replace(config, encode=replace(config.encode, workers=99)))


@pytest.mark.slow
@pytest.mark.ray
def test_image_files_are_encoded_as_they_lie_and_bad_ones_told(ray_4_cpus: None, tmp_path: Path):
    config = write_run(str(tmp_path / "runs"), StorageConfig())
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        Image.new("RGB", (70, 50), (50 * number, 10, 90)).save(photos / f"{number}.png")
    (photos / "3.png").write_bytes(b"broken")
    found = encode_data(replace(config, encode=EncodeConfig(source=str(photos), part_images=3)))
    assert (found.images, found.skipped) == (5, {"not_an_image": 1})
    assert found.folder.startswith(str(tmp_path / "runs" / "run" / "codes"))
    table = pq.read_table(found.folder)
    assert table["file"].to_pylist() == [f"{number}.png" for number in range(5)]
    assert table["skipped"].to_pylist() == [None, None, None, "not_an_image", None]
    model = gem_ray.load(tmp_path / "runs" / "run")
    for number in (0, 1, 2, 4):
        expected = model.encode(photos / f"{number}.png").mu
        np.testing.assert_allclose(table["mu"][number].as_py(), expected, atol=1e-5)


def test_a_model_loads_from_s3_and_is_saved_there(s3_bucket: tuple[str, StorageConfig]):
    uri, storage = s3_bucket
    write_run(uri, storage)
    model = gem_ray.load(f"{uri}/run", storage=storage)
    image = np.full((40, 40, 3), 120, np.uint8)
    edited = model.edit(image, {"beard": 1.5})
    model.save(f"{uri}/handed-on")
    again = gem_ray.load(f"{uri}/handed-on/", storage=storage)
    assert again.data is None
    assert torch.equal(again.edit(image, {"beard": 1.5}), edited)
