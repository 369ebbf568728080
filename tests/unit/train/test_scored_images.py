"""A streaming run aligns with the images of scored records, which no step reads: a thread does, each shard once."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import wait

import numpy as np
import pytest
import torch

from gem_ray.config import DataConfig, GemConfig, StorageConfig
from gem_ray.data import held
from gem_ray.data.loader import open_loaders
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.train.relation_feed import RelationFeed, RelationPoller, Relations, without_scores

CPU = torch.device("cpu")
SIDE, PER_SHARD, SHARDS, HOLDOUT = 8, 12, 4, 4
COUNT = SHARDS * PER_SHARD
NAMES = ("bangs", "bald")


class Reads:
    """Shards read since, each with its thread; none is read while ``go_on`` is not set."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: set[threading.Thread] = set()
        self.go_on = threading.Event()
        self.go_on.set()


@pytest.fixture
def images(tmp_path) -> np.ndarray:
    """What lies in ``tmp_path`` as shards [COUNT, SIDE, SIDE, 3]."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    storage, entries = Storage(str(tmp_path), StorageConfig()), []
    for number in range(SHARDS):
        rows = np.arange(number * PER_SHARD, (number + 1) * PER_SHARD)
        data, name = encode_shard(images[rows], rows, None, ()), f"shards/{number:05d}.parquet"
        storage.write_bytes(name, data)
        entries.append(
            ShardEntry(name=name, count=PER_SHARD, num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        )
    shape = (SIDE, SIDE, 3)
    write_manifest(
        storage,
        Manifest(shape=shape, shards=tuple(entries), source="x", attributes=None, seed=0, num_skipped=0, settings={}),
    )
    return images


@pytest.fixture
def reads(monkeypatch) -> Reads:
    noted, read = Reads(), Storage.read_hashed

    def noting(self, name, sha256):
        noted.names.append(name)
        noted.threads.add(threading.current_thread())
        assert noted.go_on.wait(10)
        return read(self, name, sha256)

    monkeypatch.setattr(Storage, "read_hashed", noting)
    return noted


def open_streams(folder, num_lanes: int = 1):
    data = DataConfig(uri=str(folder), ingest="stream", batch_size=8, holdout=HOLDOUT)
    return open_loaders(GemConfig(data=data), range(num_lanes), num_lanes)


def scored(records) -> Relations:
    index = np.asarray(records, np.int64)
    return Relations(DisGraph.empty(NAMES), index, np.zeros((len(index), len(NAMES)), np.float32))


def aligned_with(feed: RelationFeed, loader, step: int, lane: int = 0, num_lanes: int = 1) -> torch.Tensor:
    rows = feed.scored_rows(seed=1, step=step, num_rows=16, lane=lane, num_lanes=num_lanes)
    return loader.images(feed.relations.index[rows])


def test_images_are_those_of_their_records_held_out_ones_too(tmp_path, images):
    (loader,) = open_streams(tmp_path)
    asked = np.array([COUNT - 1, 0, 7, 7, PER_SHARD])
    loader.hold(asked).result()
    assert np.array_equal(loader.images(asked).permute(0, 2, 3, 1).numpy(), images[asked])


@pytest.mark.parametrize("num_lanes", [1, 2, 8])
def test_each_shard_is_read_once_for_all_lanes_and_steps_and_never_by_a_step(tmp_path, images, reads, num_lanes):
    loaders = open_streams(tmp_path, num_lanes)
    reads.names.clear()  # the manifest's
    records = np.random.default_rng(3).permutation(COUNT)[:40]
    feed = RelationFeed(scored(records), CPU, 1, loader=loaders[0])
    for step in range(60):
        for lane, loader in enumerate(loaders):
            found = aligned_with(feed, loader, step, lane, num_lanes)
            rows = feed.scored_rows(1, step, 16, lane, num_lanes)
            assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), images[records[rows]])
    assert len(reads.names) == len(set(reads.names)) == SHARDS
    assert threading.main_thread() not in reads.threads


def test_steps_go_on_with_the_relations_before_until_the_images_of_newer_ones_are_there(
    tmp_path, images, reads, process_group_of_one
):
    (loader,) = open_streams(tmp_path)
    given = [scored(range(2 * PER_SHARD))]
    poller = RelationPoller(lambda _version: given.pop() if given else None, lambda: None, 0, 0.01)
    feed = RelationFeed(scored(range(PER_SHARD)), CPU, 1, poller, loader)
    before = set(reads.names)
    reads.go_on.clear()
    try:
        steps = iter(range(10**6))
        while len(reads.names) == len(before):  # until the thread stands before the second shard
            assert feed.refresh(next(steps)) is None
        for _ in range(5):
            assert feed.refresh(next(steps)) is None
            assert len(feed.relations.index) == PER_SHARD
            aligned_with(feed, loader, next(steps))
        coming = feed._coming
        reads.go_on.set()
        wait([coming[1]], timeout=10)
        assert feed.refresh(next(steps)) is not None
        assert len(feed.relations.index) == 2 * PER_SHARD
        aligned_with(feed, loader, next(steps))
        assert reads.names.count("shards/00000.parquet") == 1  # what was held is not read again
        assert threading.main_thread() not in reads.threads
    finally:
        reads.go_on.set()
        poller.close()


def test_of_more_scored_images_than_can_be_held_those_scored_first_are_used(
    tmp_path, images, monkeypatch, capsys, process_group_of_one
):
    monkeypatch.setattr(held, "CACHE_BYTES", 10 * images[0].nbytes)
    (loader,) = open_streams(tmp_path)
    poller = RelationPoller(lambda _version: None, lambda: None, 0, 10.0)
    try:
        feed = RelationFeed(scored(range(40, 20, -1)), CPU, 1, poller, loader)
    finally:
        poller.close()
    assert feed.relations.index.tolist() == list(range(40, 30, -1))
    assert len(feed.targets) == 10
    assert {tuple(aligned_with(feed, loader, step).shape) for step in range(20)} == {(16, 3, SIDE, SIDE)}
    assert "uses the 10 images that were scored first of 20" in capsys.readouterr().out


def test_a_damaged_shard_ends_the_run_where_its_relations_would_be_adopted(tmp_path, images, process_group_of_one):
    (loader,) = open_streams(tmp_path)
    given = [scored(range(COUNT))]
    poller = RelationPoller(lambda _version: given.pop() if given else None, lambda: None, 0, 0.01)
    feed = RelationFeed(without_scores(DisGraph.empty(NAMES)), CPU, 1, poller, loader)
    (tmp_path / "shards" / "00002.parquet").write_bytes(b"damaged")

    def train() -> None:
        for step in range(10**6):
            feed.refresh(step)

    try:
        with pytest.raises(DataError, match=r"00002\.parquet .* is damaged"):
            train()
    finally:
        poller.close()
