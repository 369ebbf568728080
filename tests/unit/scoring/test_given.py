"""Given scores: labels as an MLLM that is never wrong, and the scores of another run."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from gem_ray.config import DataConfig, GemConfig, ModelConfig, RunConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import ConfigError, DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_values
from gem_ray.messages.graph import PushReply
from gem_ray.scoring.given import digits_of_labels, label_scores, publish_given_scores, stored_scores
from gem_ray.scoring.looking.codes import DataImages
from gem_ray.scoring.rescoring.scores import read_scores, write_scores
from gem_ray.storage import Storage

NUM, HOLDOUT = 200, 20


class MemoryStore:
    """A store that applies every push."""

    def __init__(self, attributes):
        self.graph, self.pushes = DisGraph.empty(tuple(attributes)), []

    def snapshot(self, newer_than, deadline_s):
        return self.graph

    def push(self, push, deadline_s):
        self.pushes.append(push)
        self.graph = self.graph.apply(push, max_change=1.0)
        return PushReply(applied=True, version=self.graph.version)


@pytest.fixture
def config(tmp_path) -> GemConfig:
    return GemConfig(
        run=RunConfig(uri=str(tmp_path / "runs"), name="labels"),
        data=DataConfig(uri=str(tmp_path / "data"), holdout=HOLDOUT),
        model=ModelConfig(attributes=["small", "wide"]),
        scoring=ScoringConfig(scorer="labels", initial_images=150),
    )


@pytest.fixture
def labels(config) -> np.ndarray:
    """Three attributes; "wide" follows "small" mostly, "grade" has eleven levels."""
    rng = np.random.default_rng(0)
    small = rng.random(NUM) < 0.4
    wide = np.where(rng.random(NUM) < 0.8, small, rng.random(NUM) < 0.5)
    values = np.stack([rng.integers(0, 11, NUM), small, wide], axis=1).astype(np.float32)
    images = np.zeros((NUM, 8, 8, 3), np.uint8)
    names = ("grade", "small", "wide")
    data = Storage(config.data.uri, config.storage)
    shard = encode_shard(images, np.arange(NUM), values, names)
    data.write_bytes("0.parquet", shard)
    entry = ShardEntry(name="0.parquet", count=NUM, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest())
    write_manifest(
        data,
        Manifest(shape=(8, 8, 3), shards=(entry,), source="test", attributes=names, seed=0, num_skipped=0, settings={}),
    )
    return values


def folders(config) -> tuple[Storage, Storage]:
    return Storage(f"{config.run.uri}/{config.run.name}", config.storage), Storage(config.data.uri, config.storage)


def test_digits_run_from_the_least_label_to_the_greatest():
    values = np.array([[0, -1, 7], [1, 0, 7], [0, 4, 7], [1, np.nan, 7]], dtype=np.float64)
    assert digits_of_labels(values).tolist() == [[0, 0, 0], [5, 1, 0], [0, 5, 0], [5, 0, 0]]


def test_labels_give_the_relations_of_the_training_images_they_are_of(config, labels):
    run, data = folders(config)
    store = MemoryStore(config.model.attributes)
    publish_given_scores(config, run, data, store)
    expected = relations_from_values(labels[:150, 1:]).strength
    assert store.graph.strength == pytest.approx(expected)
    table = read_scores(run, store.graph.scores)
    assert table.index.tolist() == list(range(150))
    assert table.expectations == pytest.approx(5 * labels[:150, 1:], abs=1e-5)


def test_scores_are_given_once_also_where_a_run_is_resumed(config, labels):
    run, data = folders(config)
    store = MemoryStore(config.model.attributes)
    publish_given_scores(config, run, data, store)
    publish_given_scores(config, run, data, store)
    assert len(store.pushes) == 1


def test_held_out_labels_are_never_used(config, labels):
    config.scoring.initial_images = NUM
    table, _ = label_scores(config, folders(config)[1])
    assert table.index.max() == NUM - HOLDOUT - 1


def test_only_the_train_split_is_ever_scored(config, labels):
    data = folders(config)[1]
    write_manifest(data, replace(read_manifest(data), splits={"train": 90, "valid": 50, "test": 60}))
    config.scoring.initial_images = NUM
    table, _ = label_scores(config, data)
    assert table.index.max() == 89
    assert DataImages(data, HOLDOUT).count == 90  # what an MLLM may be shown


def test_a_node_without_a_label_is_refused_with_what_there_is(config, labels):
    config.model.attributes = ["small", "bald"]
    with pytest.raises(ConfigError, match=r"none of bald; it has grade, small, wide"):
        label_scores(config, folders(config)[1])


def other_run(config, labels):
    """A run with scores, and the configuration of one that takes them."""
    theirs, data = folders(config)
    theirs.write_bytes("config.json", config_to_json(config).encode())
    full, _ = label_scores(config, data)
    part = replace(full, index=full.index[:10], probabilities=full.probabilities[:10], digit_mass=full.digit_mass[:10])
    write_scores(theirs, part, "a model")
    write_scores(theirs, full, "a model")
    taker = replace(
        config,
        run=replace(config.run, name="taker"),
        scoring=replace(config.scoring, scorer="stored", scores_from=theirs.uri),
    )
    return taker, full


def test_stored_scores_are_the_fullest_table_of_the_other_run(config, labels):
    taker, full = other_run(config, labels)
    table, model = stored_scores(taker, folders(taker)[1])
    assert model == "a model"
    assert np.array_equal(table.index, full.index)
    assert table.probabilities == pytest.approx(full.probabilities)


def test_stored_scores_of_other_data_other_attributes_or_no_run_are_refused(config, labels):
    taker, _ = other_run(config, labels)
    data = folders(taker)[1]
    with pytest.raises(ConfigError, match="has no scores of grade, small"):
        stored_scores(replace(taker, model=ModelConfig(attributes=["grade", "small"])), data)
    with pytest.raises(ConfigError, match="this run has data.uri=elsewhere"):
        stored_scores(replace(taker, data=replace(taker.data, uri="elsewhere")), Storage("elsewhere", taker.storage))
    nowhere = replace(taker, scoring=replace(taker.scoring, scores_from=config.run.uri + "/nothing"))
    with pytest.raises(ConfigError, match="is no folder of a run"):
        stored_scores(nowhere, data)


def test_stored_scores_of_held_out_images_are_refused(config, labels):
    taker, _ = other_run(config, labels)
    with pytest.raises(DataError, match=r"scores of image 149, which this run holds out \(from 100 on\)"):
        stored_scores(replace(taker, data=replace(taker.data, holdout=100)), folders(taker)[1])
