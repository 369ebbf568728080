"""The manifest: what is written is read back, and anything else is an error that says what to do."""

from __future__ import annotations

import dataclasses
import json

import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.manifest import MANIFEST, Manifest, ShardEntry, has_manifest, read_manifest, write_manifest
from gem_ray.errors import DataError
from gem_ray.storage import Storage

SHAPE, NAMES, COUNTS = (8, 8, 3), ("bangs", "male"), (5, 7, 3)


def make_data(folder) -> tuple[Storage, Manifest]:
    """The manifest of three shards, which do not exist: none is read here."""
    storage = Storage(str(folder), StorageConfig())
    entries = [
        ShardEntry(name=f"shards/{number:05d}.parquet", count=count, num_bytes=192 * count, sha256="0" * 64)
        for number, count in enumerate(COUNTS)
    ]
    manifest = Manifest(
        shape=SHAPE,
        shards=tuple(entries),
        source="test",
        attributes=NAMES,
        seed=4,
        num_skipped=1,
        settings={"image_size": 8},
    )
    write_manifest(storage, manifest)
    return storage, manifest


def test_the_manifest_is_read_back_as_it_was_written(tmp_path):
    storage, manifest = make_data(tmp_path)
    assert has_manifest(storage)
    assert read_manifest(storage) == manifest
    assert manifest.count == 15
    assert manifest.starts.tolist() == [0, 5, 12, 15]
    assert manifest.num_bytes == 15 * 192


def test_a_manifest_of_another_schema_version_is_refused(tmp_path, rewrite_manifest):
    storage, _ = make_data(tmp_path)
    rewrite_manifest(storage, schema_version=2)
    with pytest.raises(DataError, match=r"schema version 2, this version of gem_ray reads 1; prepare the data again"):
        read_manifest(storage)


def test_data_without_a_manifest_are_unfinished(tmp_path):
    storage, _ = make_data(tmp_path)
    storage.delete(MANIFEST)
    assert not has_manifest(storage)
    with pytest.raises(DataError, match=r"no manifest\.json in .* run python -m jobs\.prepare"):
        read_manifest(storage)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'"x"', b"{}", b"\xff\xfe"])
def test_something_else_in_place_of_a_manifest_is_refused(tmp_path, text):
    storage, _ = make_data(tmp_path)
    storage.write_bytes(MANIFEST, text)
    with pytest.raises(DataError, match=r"is not a manifest .* prepare the data again"):
        read_manifest(storage)


@pytest.mark.parametrize(
    "changes",
    [{"count": 14}, {"shards": []}, {"shape": [8, 8]}, {"shape": [8, 8, 4]}, {"shards": [{"name": "x"}]}, {"more": 1}],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path, rewrite_manifest, changes):
    storage, _ = make_data(tmp_path)
    rewrite_manifest(storage, **changes)
    with pytest.raises(DataError, match="damaged|contradicts itself"):
        read_manifest(storage)


def test_splits_and_relations_are_kept_in_their_order(tmp_path):
    storage, manifest = make_data(tmp_path)
    assert (manifest.splits, manifest.relations) == (None, None)
    relations = ((0.0, 0.25), (-0.125, 0.0))
    told = dataclasses.replace(manifest, splits={"train": 12, "test": 3}, relations=relations)
    write_manifest(storage, told)
    assert read_manifest(storage) == told
    assert list(read_manifest(storage).splits) == ["train", "test"]
    assert [told.num_train(holdout) for holdout in (0, 3, 4, 15, 99)] == [12, 12, 11, 0, 0]
    assert [manifest.num_train(holdout) for holdout in (0, 4, 99)] == [15, 11, 0]


def test_any_other_content_than_what_was_written_is_refused(tmp_path):
    storage, manifest = make_data(tmp_path)
    for changes in (
        {"seed": 5},
        {"source": "tesu"},
        {"settings": {"image_size": 9}},
        {"attributes": ["bangs", "mald"]},
    ):
        content = json.loads(manifest.to_json()) | changes
        storage.write_bytes(MANIFEST, json.dumps(content).encode())
        with pytest.raises(DataError, match=r"damaged: its content does not have the sha256 it carries"):
            read_manifest(storage)


def test_data_from_before_there_were_splits_or_a_hash_are_read(tmp_path):
    storage, manifest = make_data(tmp_path)
    content = json.loads(storage.read_bytes(MANIFEST))
    del content["splits"], content["relations"], content["sha256"]
    storage.write_bytes(MANIFEST, json.dumps(content).encode())
    assert read_manifest(storage) == manifest


def test_splits_that_do_not_add_up_are_refused(tmp_path, rewrite_manifest):
    storage, _ = make_data(tmp_path)
    rewrite_manifest(storage, splits={"train": 12, "test": 4})
    with pytest.raises(DataError, match="contradicts itself"):
        read_manifest(storage)
