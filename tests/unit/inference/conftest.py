"""A small run with prepared data: real networks with random weights, and a graph in which directions differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import gem_ray
from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, GemConfig, ModelConfig, PrepareConfig, RunConfig, StorageConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.graph.disgraph import DisGraph
from gem_ray.inference.trained import TrainedModel
from gem_ray.models.gem import Gem
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "makeup")
SIDE, NUM_IMAGES, HOLDOUT, CROP = 32, 80, 16, 40
STRENGTH = np.array([[0.0, 0.4, -0.5], [0.7, 0.0, -0.3], [-0.6, 0.0, 0.0]])


def write_run(folder: Path, node_dim: int = 1, gnn_layers: int = 1, graph: str = "refined") -> Path:
    """A run's folder with data beside it; gives the run's."""
    data = Storage(str(folder / "data"), StorageConfig())
    images = np.random.default_rng(5).integers(0, 256, (NUM_IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    shard = encode_shard(images, np.arange(NUM_IMAGES), None, ())
    data.write_bytes("0.parquet", shard)
    entry = ShardEntry(
        name="0.parquet", count=NUM_IMAGES, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest()
    )
    settings = {"crop": CROP, "max_pixels": 1_000_000}
    write_manifest(
        data,
        Manifest(
            shape=(SIDE, SIDE, 3),
            shards=(entry,),
            source="photos",
            attributes=None,
            seed=0,
            num_skipped=0,
            settings=settings,
        ),
    )
    config = GemConfig(
        run=RunConfig(uri=str(folder), name="run"),
        data=DataConfig(uri=data.uri, holdout=HOLDOUT),
        prepare=PrepareConfig(crop=0),
        model=ModelConfig(
            attributes=list(ATTRIBUTES),
            node_dim=node_dim,
            residual_dim=4,
            network="burgess",
            gnn_layers=gnn_layers,
            graph=graph,
        ),
    )
    torch.manual_seed(3)
    gem = Gem(config.model, SIDE)
    with torch.no_grad():
        gem.encoder.head.weight.mul_(200)  # random networks hardly look at their input
        gem.decoder.convolutions[-1].weight.mul_(50)
        gem.edge_offset[0, 1] = 0.2
    checkpoint = Checkpoint(
        step=7,
        model={f"gem.{name}": tensor for name, tensor in gem.state_dict().items()},
        graph_json=DisGraph.from_strength(ATTRIBUTES, STRENGTH, np.full((3, 3), 0.05)).to_json(),
        state={"config": config_to_json(config), "image_size": SIDE},
    )
    run = Storage(str(folder / "run"), StorageConfig())
    run.write_bytes("config.json", config_to_json(config).encode())
    save_checkpoint(run, checkpoint, keep=2)
    return folder / "run"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("inference"))


@pytest.fixture
def own_run(tmp_path: Path) -> Path:
    """A run to write into."""
    return write_run(tmp_path)


@pytest.fixture(scope="session")
def model(run_folder: Path) -> TrainedModel:
    return gem_ray.load(run_folder)


@pytest.fixture(scope="session", params=[(1, 1), (2, 1), (2, 3)], ids=["flat", "wide", "deep"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """Of nodes with one and two dimensions, and of linear and nonlinear message passing."""
    return gem_ray.load(write_run(tmp_path_factory.mktemp("models"), *request.param))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def baseline(tmp_path: Path) -> TrainedModel:
    """A model without a graph network."""
    return gem_ray.load(write_run(tmp_path, graph="none"))
