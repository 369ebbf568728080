"""Labels of the data are for evaluation alone: training on them shuffled gives the same parameters bit for bit."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from gem_ray.config import DataConfig, GemConfig, ModelConfig, ObjectiveConfig, ScoringConfig, TrainConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.data.loader import num_train
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.data.order import Piece
from gem_ray.data.reading import read_piece
from gem_ray.data.shards import encode_shard, read_records
from gem_ray.graph.disgraph import DisGraph
from gem_ray.scoring.given import label_scores
from gem_ray.storage import Storage
from gem_ray.train.relation_feed import RelationFeed, Relations, standardize, without_scores
from gem_ray.train.step import build_parts, state_tensors, train_step
from gem_ray.train.worker import make_inputs

CPU, COUNT, SIZE, STEPS = torch.device("cpu"), 48, 32, 4
FACES = DRAWN["faces"]


def write_faces(folder: Path, order: np.ndarray) -> str:
    """Two shards of drawn faces; face i has the attributes of face ``order[i]``."""
    storage = Storage(str(folder), GemConfig().storage)
    images, values = zip(*(FACES.draw(3, index, SIZE) for index in range(COUNT)), strict=True)
    pixels, labels = np.stack(images), np.stack(values)[order]
    entries = []
    for number, rows in enumerate(np.split(np.arange(COUNT), 2)):
        data = encode_shard(pixels[rows], rows, labels[rows], FACES.factors)
        name = f"shards/{number:05d}.parquet"
        storage.write_bytes(name, data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(ShardEntry(name=name, count=len(rows), num_bytes=len(data), sha256=digest))
    manifest = Manifest(
        shape=(SIZE, SIZE, 3),
        shards=tuple(entries),
        source="photos",
        attributes=FACES.factors,
        seed=3,
        num_skipped=0,
        settings={},
        splits={"train": COUNT // 2, "test": COUNT // 2},
    )
    write_manifest(storage, manifest)
    return storage.uri


def relations_of(config: GemConfig, data: Storage, manifest: Manifest) -> Relations:
    """What training follows: nothing, scores that look at pixels as an MLLM does, or the labels."""
    graph = DisGraph.empty(tuple(config.model.attributes))
    if config.scoring.scorer == "none":
        return without_scores(graph)
    if config.scoring.scorer == "labels":
        table, _ = label_scores(config, data)
        return Relations(graph, table.index, standardize(table.expectations))
    images = read_records(data, manifest, 0, 20).images
    scores = np.stack([images[:, 4 * k : 4 * k + 8].mean((1, 2, 3)) for k in range(len(FACES.factors))], axis=1)
    return Relations(graph, np.arange(20), standardize(scores))


def trained(uri: str, scorer: str) -> dict[str, torch.Tensor]:
    """Parameters after a few steps as a worker makes them, from the shards on."""
    config = GemConfig(
        data=DataConfig(uri=uri, batch_size=8, holdout=8),
        model=ModelConfig(attributes=list(FACES.factors), residual_dim=2),
        objective=ObjectiveConfig(kl_warmup_steps=1, align_batch=8),
        scoring=ScoringConfig(scorer=scorer),
        train=TrainConfig(precision="fp32"),
    )
    assert config.objective.align_weight > 0
    data = Storage(uri, config.storage)
    manifest = read_manifest(data)
    pieces = [Piece(number, 0, shard.count) for number, shard in enumerate(manifest.shards)]
    rows = rows_of([read_piece(pa.table({"id": [0, 1]}), data, manifest, pieces)], manifest)
    loader = MemoryLoader(
        rows, manifest.shape, num_train=num_train(config.data, manifest), batch_size=8, seed=0, lane=0, num_lanes=1
    )
    parts = build_parts(config, SIZE, CPU)
    feed = RelationFeed(relations_of(config, data, manifest), CPU, config.graph.refresh_every_steps)
    for step, batch in enumerate(islice(loader.batches(0), STEPS)):
        assert batch.index.max() < COUNT // 2
        train_step(parts, make_inputs(config, parts, feed, loader, batch, step, 0, 1), config.objective)
    return {name: tensor.clone() for name, tensor in state_tensors(parts)[0].items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[str, str]:
    """The same images with their own labels, and with each other's."""
    folder = tmp_path_factory.mktemp("labels")
    order = np.random.default_rng(1).permutation(COUNT)
    return write_faces(folder / "own", np.arange(COUNT)), write_faces(folder / "shuffled", order)


@pytest.mark.parametrize(("scorer", "same"), [("none", True), ("vllm", True), ("labels", False)])
def test_only_the_supervised_upper_bound_learns_from_labels(both, scorer, same):
    own, shuffled = (trained(uri, scorer) for uri in both)
    assert own.keys() == shuffled.keys()
    assert all(torch.equal(own[name], shuffled[name]) for name in own) == same


def test_scores_of_pixels_do_reach_the_parameters(both):
    without, scored = (trained(both[0], scorer) for scorer in ("none", "vllm"))
    assert not all(torch.equal(without[name], scored[name]) for name in without)
