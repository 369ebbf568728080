"""Relations among a model's own images: read alike of data and model, and of drawn faces alone."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from gem_ray.config import DataConfig, EvaluateConfig, GemConfig, ModelConfig, StorageConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.evaluation.own_images import DATA, PRIOR, RECOMBINED, relations_of_own_images
from gem_ray.evaluation.progress import silent
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_values
from gem_ray.models.gem import Gem
from gem_ray.scoring.looking.codes import NewestModel
from gem_ray.storage import Storage

NAMES = ["male", "beard", "makeup"]
NUM = 250


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> GemConfig:
    return GemConfig(
        data=DataConfig(uri=str(tmp_path_factory.mktemp("faces")), holdout=20),
        model=ModelConfig(attributes=NAMES, residual_dim=2),
        evaluate=EvaluateConfig(sample_images=NUM - 20),
    )


@pytest.fixture(scope="module")
def data(config) -> Storage:
    drawn = [face(3, index, 32) for index in range(NUM)]
    shard = encode_shard(np.stack([image for image, _ in drawn]), np.arange(NUM), None, ())
    storage = Storage(config.data.uri, StorageConfig())
    storage.write_bytes("0.parquet", shard)
    entry = ShardEntry(name="0.parquet", count=NUM, num_bytes=len(shard), sha256=sha256(shard).hexdigest())
    write_manifest(
        storage,
        Manifest(
            shape=(32, 32, 3), shards=(entry,), source="faces", attributes=None, seed=3, num_skipped=0, settings={}
        ),
    )
    return storage


@pytest.fixture(scope="module")
def newest(config) -> NewestModel:
    torch.manual_seed(0)
    graph = DisGraph.empty(tuple(NAMES))
    return NewestModel(1, graph, Gem(config.model, 32).eval(), torch.zeros(3, 3))


def test_data_images_show_their_own_relations_and_an_untrained_model_shows_none(config, data, newest):
    found = relations_of_own_images(newest, data, read_manifest(data), config, silent)
    drawn = np.stack([face(3, index, 32)[1] for index in range(NUM - 20)])
    own = relations_from_values(np.rint(5 * drawn[:, [ATTRIBUTES.index(name) for name in NAMES]])).strength
    assert set(found) == {DATA, RECOMBINED, PRIOR}
    assert np.abs(found[DATA] - own).mean() < 0.06
    assert np.abs(found[RECOMBINED]).mean() < np.abs(found[DATA]).mean() / 3


def test_other_images_other_attributes_and_none_wanted_read_nothing(config, data, newest):
    manifest = read_manifest(data)
    assert relations_of_own_images(newest, data, replace(manifest, source="photos"), config, silent) == {}
    stranger = replace(newest, graph=DisGraph.empty(("male", "beard", "smile")))
    assert relations_of_own_images(stranger, data, manifest, config, silent) == {}
    none = replace(config, evaluate=replace(config.evaluate, sample_images=0))
    assert relations_of_own_images(newest, data, manifest, none, silent) == {}
