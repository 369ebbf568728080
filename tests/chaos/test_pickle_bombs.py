"""A pickle in every place from which something is read: it is refused or left out, and never loaded.

``test_kit`` is the control: each of these bombs does go off where pickles are loaded.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import GemConfig, GraphConfig, StorageConfig
from gem_ray.data.files import read_files, zip_items
from gem_ray.data.images import BadImageError, ImageShape, decode_image
from gem_ray.data.lmdb_files import list_lmdb
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import read_records
from gem_ray.data.sources import list_source
from gem_ray.errors import DataError, GemRayError
from gem_ray.evaluation.evaluation_facts import read_evaluation
from gem_ray.evaluation.history import read_history
from gem_ray.evaluation.networks import read_weights
from gem_ray.evaluation.stored_run import stored_config
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.saved import load_saved
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.models.perceptual import restore_perceptual
from gem_ray.parquet_bytes import read_table
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.rescoring.scores import ScoreTable, read_scores, write_scores
from gem_ray.storage import Storage
from kit.bombs import pickle_bombs

ATTRIBUTES = ("male", "beard", "bald")
SHAPE = ImageShape(size=16, crop=0, max_pixels=10_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_of(shard: bytes) -> Manifest:
    entry = ShardEntry(name="a.parquet", count=2, num_bytes=len(shard), sha256=sha256(shard))
    return Manifest(shape=(4, 4, 3), shards=(entry,), source="x", attributes=None, seed=0, num_skipped=0, settings={})


def from_shard(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("a.parquet", bomb)
    write_manifest(folder, manifest_of(bomb))
    read_records(folder, read_manifest(folder), 0, 2)


def from_manifest(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("manifest.json", bomb)
    read_manifest(folder)


def from_checkpoint(name: str) -> Callable[[Storage, bytes], None]:
    def read(folder: Storage, bomb: bytes) -> None:
        weights = {"w": torch.ones(2)}
        save_checkpoint(folder, Checkpoint(step=1, model=weights, graph_json="{}", state={}), keep=1)
        place = "checkpoints/step_000000001"
        folder.write_bytes(f"{place}/{name}", bomb)
        if name != "manifest.json":
            manifest = json.loads(folder.read_bytes(f"{place}/manifest.json"))
            manifest["sha256"][name] = sha256(bomb)
            folder.write_bytes(f"{place}/manifest.json", json.dumps(manifest).encode())
        found = load_checkpoint(folder, 1)
        DisGraph.from_json(found.graph_json)

    return read


def make_store(folder: Storage) -> GraphStore:
    return GraphStore(folder, "run", ATTRIBUTES, GraphConfig(snapshot_every_pushes=2))


def from_journal(framed: bool) -> Callable[[Storage, bytes], None]:
    def read(folder: Storage, bomb: bytes) -> None:
        words = b"%08x %08x " % (len(bomb), zlib.crc32(bomb))
        frame = words + b"%08x " % zlib.crc32(words) + bomb + b"\n"
        folder.write_bytes("graph/journal-000000000000", frame if framed else bomb.ljust(64))
        make_store(folder).snapshot(None)

    return read


def from_snapshot(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("graph/snapshot-000000000000", sha256(bomb).encode() + b"\n" + bomb)
    make_store(folder).snapshot(None)


def from_snapshots_ids(folder: Storage, bomb: bytes) -> None:
    body = DisGraph.empty(ATTRIBUTES).to_json().encode() + b"\n" + bomb
    folder.write_bytes("graph/snapshot-000000000000", sha256(body).encode() + b"\n" + body)
    make_store(folder).snapshot(None)


def from_scores(folder: Storage, bomb: bytes) -> None:
    probabilities = np.full((2, 3, 6), 1 / 6)
    ref = write_scores(folder, ScoreTable(ATTRIBUTES, np.arange(2), probabilities, np.ones((2, 3))), "nano")
    folder.write_bytes(ref.uri, bomb)
    read_scores(folder, replace(ref, sha256=sha256(bomb)))


def from_answers(folder: Storage, bomb: bytes) -> None:
    answer = ScoreAnswer(probabilities=(1.0, 0.0, 0.0, 0.0, 0.0, 0.0), digit_mass=1.0)
    keys = [hashlib.sha256(b"x").digest()[:16]]
    StoredAnswers(folder, 10**6).add(keys, [answer])
    (name,) = folder.list()
    folder.delete(name)
    folder.write_bytes(f"{name.split('-')[0]}-{sha256(bomb)}.parquet", bomb)
    store = StoredAnswers(folder, 10**6)
    assert store.get(keys) == [None]
    assert store.damaged == 1
    raise DataError("left out")


def from_metrics(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("metrics.jsonl", b'{"step": 1, "images_per_s": 1.0}\n' + bomb)
    assert list(read_history(folder).column("step")) == [1.0]
    raise DataError("left out")


def from_saved(name: str) -> Callable[[Storage, bytes], None]:
    def read(folder: Storage, bomb: bytes) -> None:
        files = {"model.safetensors": b"", "codes.safetensors": b"", "graph.json": b"{}"} | {name: bomb}
        sums = {each: sha256(data) for each, data in files.items() if each != "model.json"}
        about = {"schema_version": 1, "sha256": sums, "shape": vars(SHAPE), "config": {}, "step": 1, "codes": "x"}
        for each, data in ({"model.json": json.dumps(about).encode()} | files).items():
            folder.write_bytes(each, data)
        load_saved(folder)

    return read


def from_source(name: str) -> Callable[[Storage, bytes], None]:
    """A file of images, listed and read as ``jobs.prepare`` does."""

    def read(folder: Storage, bomb: bytes) -> None:
        folder.write_bytes(name, bomb)
        list_source(str(folder.local_path / name.split("/")[0]), 0, StorageConfig())

    return read


def from_zip_member(folder: Storage, bomb: bytes) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", bomb)
    folder.write_bytes("images.zip", packed.getvalue())
    items = zip_items("images.zip", packed)
    for _, data in read_files(folder, items, 1 << 20):
        assert isinstance(data, bytes)
        decode_image(data, SHAPE)


def from_hdf5_value(folder: Storage, bomb: bytes) -> None:
    folder.local_path.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder.local_path / "3dshapes.h5", "w") as file:
        file["images"] = np.void(bomb)
        file["labels"] = np.void(bomb)
    list_source(str(folder.local_path / "3dshapes.h5"), 0, StorageConfig())


def from_lmdb_value(folder: Storage, bomb: bytes) -> None:
    path = folder.local_path / "bedroom_train_lmdb"
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as entries:
        entries.put(b"key", bomb)
    for _, data in list_lmdb(folder, [path.name]).contents():
        decode_image(data, SHAPE)


def from_config(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("config.json", bomb)
    stored_config(folder, GemConfig())


def from_evaluation(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("evaluation.json", bomb)
    read_evaluation(folder)


def from_weights(folder: Storage, bomb: bytes) -> None:
    folder.write_bytes("weights.pth", bomb)
    read_weights(folder.local_path / "weights.pth")


PLACES: dict[str, Callable[[Storage, bytes], None]] = {
    "a shard": from_shard,
    "the manifest": from_manifest,
    **{
        f"a checkpoint's {name}": from_checkpoint(name)
        for name in ("model.safetensors", "optimizer.safetensors", "graph.json", "state.json", "manifest.json")
    },
    "the journal": from_journal(framed=False),
    "a record of the journal": from_journal(framed=True),
    "a snapshot": from_snapshot,
    "a snapshot's ids": from_snapshots_ids,
    "a table of scores": from_scores,
    "stored answers": from_answers,
    "a run's metrics": from_metrics,
    "a run's configuration": from_config,
    "a run's evaluation": from_evaluation,
    **{
        f"a saved model's {name}": from_saved(name)
        for name in ("model.json", "model.safetensors", "codes.safetensors", "graph.json")
    },
    "an npz": from_source("images.npz"),
    "an HDF5 file": from_source("3dshapes.h5"),
    "an HDF5 value": from_hdf5_value,
    "a MATLAB file": from_source("cars/a.mat"),
    "an LMDB database": from_source("bedroom_train_lmdb/data.mdb"),
    "an LMDB value": from_lmdb_value,
    "a zip": from_source("images.zip"),
    "a zip's member": from_zip_member,
    "a tar": from_source("images.tar"),
    "an image": lambda folder, bomb: decode_image(bomb, SHAPE) and None,
    "weights of the perceptual loss": lambda folder, bomb: restore_perceptual(bomb, "vgg16") and None,
    "published weights": from_weights,
}


@pytest.mark.parametrize("place", list(PLACES))
def test_a_bomb_is_refused_and_never_goes_off(place, tmp_path):
    mark = tmp_path / "mark"
    for number, (dress, bomb) in enumerate(pickle_bombs(mark).items()):
        folder = Storage(str(tmp_path / f"folder-{number}"), StorageConfig())
        with pytest.raises((GemRayError, BadImageError)):
            PLACES[place](folder, bomb)
        assert not mark.exists(), f"{place} was unpickled, as {dress}"


def test_a_pickle_in_the_schema_of_a_parquet_file_never_goes_off(tmp_path):
    """pyarrow before 14.0.1 loaded the class of an extension type from here."""
    mark = tmp_path / "mark"
    bomb = pickle_bombs(mark)["protocol 2"]
    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    table = pa.table([pa.array([1, 2])], schema=pa.schema([pa.field("item", pa.int64(), metadata=meta)]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    stored = pq.read_metadata(io.BytesIO(buffer.getvalue())).metadata[b"ARROW:schema"]
    assert bomb in base64.b64decode(stored), "the bomb is not in the file"
    assert read_table(buffer.getvalue(), "a shard", ["item"]).num_rows == 2
    assert not mark.exists()


def test_no_reader_of_ours_can_unpickle():
    """What the lint forbids by name, once more by what is imported."""
    sources = list((Path(__file__).parents[2]).glob("gem_ray/**/*.py"))
    assert len(sources) > 150
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for call in ("pickle.load", "allow_pickle=True", "weights_only=False", "yaml.load(", "marshal.load"):
            assert call not in text, f"{path.name} has {call}"
