"""A run goes on as the experiment it was; where its images are streamed, in the same order too."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gem_ray.config import DataConfig, GemConfig, GraphConfig, ModelConfig, ObjectiveConfig, StorageConfig, TrainConfig
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.errors import ConfigError
from gem_ray.storage import Storage
from gem_ray.train.same_run import check_same_run

NUM_BYTES = 1000 * 32 * 32 * 3


@pytest.fixture
def started(tmp_path):
    """A run with a checkpoint, and how it is gone on with."""
    run, data = (Storage(str(tmp_path / name), StorageConfig()) for name in ("run", "data"))
    shard = ShardEntry(name="shard_00000.arrow", count=1000, num_bytes=NUM_BYTES, sha256="")
    written = Manifest(
        shape=(32, 32, 3), shards=(shard,), source="x", attributes=None, seed=0, num_skipped=0, settings={}
    )
    write_manifest(data, written)

    def start(**options):
        check_same_run(GemConfig(**options), run, data)
        run.write_bytes("checkpoints/step_000000010/manifest.json", b"{}")

    return SimpleNamespace(run=run, data=data, start=start, go_on=lambda **o: check_same_run(GemConfig(**o), run, data))


def test_steps_cadence_and_learning_rate_may_change(started):
    started.start(train=TrainConfig(steps=10))
    started.go_on(train=TrainConfig(steps=20, checkpoint_every_steps=5, keep_checkpoints=1, learning_rate=1e-4))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"train": TrainConfig(seed=1)}, "train.seed=0, now it is 1"),
        ({"model": ModelConfig(residual_dim=2)}, "model.residual_dim=26, now it is 2"),
        ({"objective": ObjectiveConfig(adversarial_weight=0.6)}, "objective.adversarial_weight=0.0, now it is 0.6"),
        ({"objective": ObjectiveConfig(total_correlation="critic")}, "total_correlation=none, now it is critic"),
        ({"objective": ObjectiveConfig(anchor="ema")}, "objective.anchor=prior, now it is ema"),
        ({"objective": ObjectiveConfig(beta=4.0)}, "objective.beta=1.0, now it is 4.0"),
        ({"graph": GraphConfig(relations="permuted")}, "graph.relations=estimated, now it is permuted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_experiment_is_refused_under_the_same_name_once_there_is_a_checkpoint(started, changed, told):
    started.go_on()
    started.go_on(**changed)
    started.start()
    with pytest.raises(ConfigError, match=f"{told}; set it back or choose another run.name"):
        started.go_on(**changed)
    started.go_on()


def test_the_file_of_the_perceptual_network_may_lie_elsewhere(started):
    started.start(objective=ObjectiveConfig(perceptual_weight=1.0, perceptual_weights="a.safetensors"))
    started.go_on(objective=ObjectiveConfig(perceptual_weight=1.0, perceptual_weights="b.safetensors"))


STREAM = DataConfig(ingest="stream")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"data": STREAM, "train": TrainConfig(num_workers=4)}, "train.num_workers=2, now it is 4"),
        ({"data": replace(STREAM, window_shards=8)}, "data.window_shards=4, now it is 8"),
        ({"data": DataConfig()}, "data.ingest=stream and .* which is stream, now it is memory"),
    ],
    ids=["lanes", "windows", "ingest"],
)
def test_what_the_order_of_a_stream_hangs_on_is_fixed(started, changed, told):
    started.start(data=STREAM)
    with pytest.raises(ConfigError, match=told):
        started.go_on(**changed)


def test_a_stream_may_lose_and_gain_workers_up_to_its_number_of_lanes(started):
    started.start(data=STREAM, train=TrainConfig(num_workers=4))
    started.go_on(data=STREAM, train=TrainConfig(num_workers=4, min_workers=1))


def test_the_order_in_memory_does_not_hang_on_workers_and_windows(started):
    started.start()
    started.go_on(data=DataConfig(window_shards=8), train=TrainConfig(num_workers=4))


def test_a_limit_of_memory_may_change_as_long_as_the_images_are_read_alike(started):
    started.start(data=DataConfig(memory_limit_gb=1.0))
    started.go_on(data=DataConfig(memory_limit_gb=2.0))
    with pytest.raises(ConfigError, match="memory_limit_gb=2.0, which is memory, now it is stream, .*set data.ingest="):
        started.go_on(data=DataConfig(memory_limit_gb=NUM_BYTES / 2e9))


def test_without_its_data_a_run_keeps_what_a_stream_would_hang_on(started):
    started.start()
    started.data.delete("manifest.json")
    with pytest.raises(ConfigError, match="train.num_workers"):
        started.go_on(train=TrainConfig(num_workers=4))


def test_options_that_an_older_version_did_not_have_are_not_compared(started):
    started.start()
    stored = json.loads(started.run.read_bytes("config.json"))
    del stored["objective"]["cross_covariance_weight"], stored["model"]["learner"], stored["plan"]
    started.run.write_bytes("config.json", json.dumps(stored).encode())
    started.go_on(objective=ObjectiveConfig(cross_covariance_weight=0.0))
