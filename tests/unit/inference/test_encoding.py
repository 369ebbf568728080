"""Codes of a data set, part by part: what is missing, and what a part holds. The worker is called without Ray."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from gem_ray.config import EncodeConfig, GemConfig, StorageConfig
from gem_ray.data.order import Piece
from gem_ray.data.reading import read_piece
from gem_ray.errors import ConfigError
from gem_ray.inference.encode_sources import ImageFiles, Prepared, find_source
from gem_ray.inference.encoding import EncodeWorker, check_room, claim_folder, encoded_part, parts_done
from gem_ray.inference.trained import TrainedModel
from gem_ray.models.gem import Gem
from gem_ray.storage import Storage


def test_a_worker_writes_the_codes_that_the_model_gives(run_folder: Path, model: TrainedModel, tmp_path: Path):
    source = find_source(EncodeConfig(), model, GemConfig())
    assert isinstance(source, Prepared)
    block = read_piece(pa.table({"id": [0]}), source.storage, source.manifest, [Piece(0, 20, 50)])
    folder = Storage(str(tmp_path), StorageConfig())
    worker = EncodeWorker(Storage(str(run_folder), StorageConfig()), model.step, folder, use_gpu=False)
    assert worker(block).to_pylist() == [{"images": 30, "skipped": "{}"}]
    assert worker(block.slice(0, 0)).num_rows == 0
    folder.write_bytes("_about.json", b"{}")
    assert parts_done(folder) == [(20, 50)]
    assert pq.read_table(tmp_path).num_rows == 30  # the folder as a whole is a table
    part = pq.read_table(tmp_path / "part_000000020_000000050.parquet")
    codes = model.encode(model.data.training_images(50, 32)[20:])
    assert part["index"].to_pylist() == list(range(20, 50))
    np.testing.assert_allclose(np.stack(part["mu"].to_numpy()), codes.mu, atol=1e-6)
    np.testing.assert_allclose(np.stack(part["z_rel"].to_numpy()), codes.z_rel, atol=1e-6)
    for column, (name, values) in enumerate([("node", codes.mu), ("node_rel", codes.z_rel)]):
        assert part.column_names[4 * column + 1 : 4 * column + 5][1:] == [
            f"{name}:{attribute}" for attribute in model.attributes
        ]
        for number, attribute in enumerate(model.attributes):
            np.testing.assert_allclose(part[f"{name}:{attribute}"].to_numpy(), values[:, number], atol=1e-6)
    assert not part["mu"].null_count


def test_an_image_that_cannot_be_used_keeps_its_row_without_codes(model: TrainedModel):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    block = pa.table(
        {
            "index": [0, 1, 2],
            "pixels": pa.array([pixels[0].tobytes(), None, pixels[1].tobytes()], pa.binary(3 * 32 * 32)),
            "file": ["a.png", "b.png", "c.png"],
            "skipped": pa.array([None, "corrupt", None], pa.string()),
        }
    )
    part = encoded_part(model, block)
    assert part["mu"].is_null().to_pylist() == [False, True, False]
    assert part["node:male"].is_null().to_pylist() == [False, True, False]
    assert part["skipped"].to_pylist() == [None, "corrupt", None]
    np.testing.assert_allclose(part["mu"][2].as_py(), model.encode(pixels[1]).mu, atol=1e-6)
    nothing = encoded_part(model, block.slice(1, 1))
    assert nothing["z_rel"].null_count == nothing.num_rows == 1
    assert part.schema.equals(nothing.schema)


def test_codes_of_another_model_or_source_lie_apart(model: TrainedModel, tmp_path: Path):
    def png(value: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (60, 60), (value, 0, 0)).save(buffer, format="PNG")
        return buffer.getvalue()

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(png(1))
    run = Storage(str(tmp_path / "run"), StorageConfig())

    def folder(of: TrainedModel, source: str) -> str:
        wanted = EncodeConfig(source=source, output=str(tmp_path / "codes"))
        return claim_folder(wanted, run, of, find_source(wanted, of, GemConfig())).uri

    files = find_source(EncodeConfig(source=str(photos)), model, GemConfig())
    assert isinstance(files, ImageFiles)
    assert (files.starts, files.shape) == ([0, 1], model.shape)
    first = folder(model, str(photos))
    assert folder(model, str(photos)) == first
    (photos / "b.png").write_bytes(png(2))
    other = TrainedModel(Gem(model.gem.config, 32), model.disgraph, step=7, shape=model.shape, data=model.data)
    assert len({first, folder(model, str(photos)), folder(model, ""), folder(other, "")}) == 4


def test_a_source_that_is_neither_files_nor_prepared_is_refused(model: TrainedModel, tmp_path: Path):
    np.savez(tmp_path / "x.npz", imgs=np.zeros((2, 32, 32, 3), np.uint8))
    with pytest.raises(ConfigError, match=r"jobs\.prepare"):
        find_source(EncodeConfig(source=str(tmp_path / "x.npz")), model, GemConfig())
    saved = TrainedModel(model.gem, model.disgraph, step=1, shape=model.shape)
    with pytest.raises(ConfigError, match="encode.source"):
        find_source(EncodeConfig(), saved, GemConfig())
    assert torch.equal(saved.strength, model.strength)


def test_more_workers_than_fit_are_refused_where_ray_cannot_grow_and_a_warning_where_it_may(capsys):
    wanted = EncodeConfig(workers=8, use_gpu=True)
    check_room(wanted, {"CPU": 8, "GPU": 8}, can_grow=False)
    with pytest.raises(ConfigError, match=r"workers=8 need a GPU each, and this Ray has 1; lower .*use_gpu=false"):
        check_room(wanted, {"CPU": 12, "GPU": 1}, can_grow=False)
    assert capsys.readouterr().out == ""
    check_room(wanted, {"CPU": 12, "GPU": 1}, can_grow=True)
    assert "workers=8 need a GPU each, and this Ray has 1 now" in capsys.readouterr().out
