"""The loader on real Ray: both ways of reading give the batches that the pure order says, on every rank."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.train
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from gem_ray.config import DataConfig, GemConfig, PrepareConfig, TrainConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.faces import face
from gem_ray.data.loader import build_datasets, open_loader
from gem_ray.data.manifest import read_manifest
from gem_ray.data.order import epoch_order
from gem_ray.data.prepare import prepare
from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.train.failures import interrupts_as_keyboard

pytestmark = pytest.mark.ray
COUNT, HOLDOUT, BATCH, SIZE, SEED = 330, 30, 16, 16, 5
STEPS_PER_EPOCH = (COUNT - HOLDOUT) // BATCH


@pytest.fixture(scope="module")
def config(ray_4_cpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loader")
    config = make_config(folder / "faces")
    prepare(config)
    return config


def make_config(uri: Path, ingest: str = "auto") -> GemConfig:
    return GemConfig(
        data=DataConfig(uri=str(uri), batch_size=BATCH, holdout=HOLDOUT, ingest=ingest, window_shards=2),
        prepare=PrepareConfig(num_images=COUNT, image_size=SIZE, seed=SEED),
        train=TrainConfig(num_workers=2, seed=3),
    )


def record_batches(loader, start: int, count: int) -> dict[str, list]:
    """What a rank saw: record numbers, and whether each image is the face of that number."""
    seen: dict[str, list] = {"index": [], "right": [], "shape": [], "steps_per_epoch": [loader.steps_per_epoch]}
    for batch in islice(loader.batches(start), count):
        expected = np.stack([face(SEED, int(record), SIZE)[0] for record in batch.index])
        seen["right"].append(bool(np.array_equal(batch.images.permute(0, 2, 3, 1).numpy(), expected)))
        seen["index"].append(batch.index.tolist())
        seen["shape"].append(list(batch.images.shape))
    return seen


def train_like_worker(settings: dict[str, str]) -> None:
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    loader = open_loader(config_from_json(settings["config"]), rank, world)
    asked = np.array([COUNT - 1, 0, 7, 7])
    right = np.stack([face(SEED, int(record), SIZE)[0] for record in asked])
    held = loader.hold(asked)
    if held:
        held.result()
    seen = {
        "whole": record_batches(loader, 0, 2 * STEPS_PER_EPOCH),
        "resumed": record_batches(loader, STEPS_PER_EPOCH + 5, 4),
        "images_right": bool(np.array_equal(loader.images(asked).permute(0, 2, 3, 1).numpy(), right)),
    }
    Path(settings["folder"], f"{rank}.json").write_text(json.dumps(seen))


@pytest.fixture(scope="module", params=["memory", "stream"])
def seen(request, config, tmp_path_factory):
    """What two ranks of a real Ray Train group saw."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = make_config(Path(config.data.uri), request.param)
    storage = Storage(settings.data.uri, settings.storage)
    trainer = DataParallelTrainer(
        train_like_worker,
        train_loop_config={"config": config_to_json(settings), "folder": str(folder)},
        scaling_config=ray.train.ScalingConfig(num_workers=2, resources_per_worker={"CPU": 2}),
        run_config=ray.train.RunConfig(name=request.param, storage_path=str(folder / "ray")),
        datasets=build_datasets(storage, read_manifest(storage), settings),
        dataset_config=ray.train.DataConfig(datasets_to_split=[]),
    )
    with interrupts_as_keyboard():  # else Ray Train's answer to Ctrl-C stays in this process, long after its Ray
        trainer.fit()
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return request.param, ranks


def test_every_image_is_the_one_its_number_says(seen):
    _, ranks = seen
    for rank in ranks:
        assert all(rank["whole"]["right"])
        assert rank["images_right"]


def test_batches_are_full_and_as_many_on_every_rank(seen):
    _, ranks = seen
    for rank in ranks:
        assert rank["whole"]["steps_per_epoch"] == [STEPS_PER_EPOCH]
        assert rank["whole"]["shape"] == [[BATCH // 2, 3, SIZE, SIZE]] * (2 * STEPS_PER_EPOCH)


def test_no_record_comes_twice_in_an_epoch_and_held_out_ones_never(seen):
    _, ranks = seen
    for epoch in range(2):
        steps = slice(epoch * STEPS_PER_EPOCH, (epoch + 1) * STEPS_PER_EPOCH)
        records = [record for rank in ranks for batch in rank["whole"]["index"][steps] for record in batch]
        assert len(records) == len(set(records)) == STEPS_PER_EPOCH * BATCH
        assert max(records) < COUNT - HOLDOUT


def test_epochs_are_shuffled_differently(seen):
    _, ranks = seen
    index = ranks[0]["whole"]["index"]
    assert index[:STEPS_PER_EPOCH] != index[STEPS_PER_EPOCH:]
    assert sorted(index[0]) != index[0]


def test_resuming_at_a_step_gives_the_batches_of_an_undisturbed_run(seen):
    _, ranks = seen
    for rank in ranks:
        start = STEPS_PER_EPOCH + 5
        assert rank["resumed"]["index"] == rank["whole"]["index"][start : start + 4]
        assert all(rank["resumed"]["right"])


def test_the_ranks_in_memory_cut_one_global_permutation(seen):
    ingest, ranks = seen
    if ingest != "memory":
        pytest.skip("a stream shuffles inside windows")
    order = epoch_order(COUNT - HOLDOUT, 3, 1)
    both = [first + second for first, second in zip(ranks[0]["whole"]["index"], ranks[1]["whole"]["index"])]
    found = [record for batch in both[STEPS_PER_EPOCH:] for record in batch]
    assert found == order[: STEPS_PER_EPOCH * BATCH].tolist()


def damaged_copy(config: GemConfig, folder: Path) -> GemConfig:
    copied = make_config(folder)
    for path in Path(config.data.uri).rglob("*.*"):
        target = folder / path.relative_to(config.data.uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    shard = folder / "shards" / "00003.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    return copied


def test_a_flipped_byte_is_found_by_the_driver_and_named(config, tmp_path):
    damaged = damaged_copy(config, tmp_path)
    storage = Storage(damaged.data.uri, damaged.storage)
    with pytest.raises(DataError, match=r"00003\.parquet .* is damaged: sha256"):
        build_datasets(storage, read_manifest(storage), damaged)


def test_a_flipped_byte_is_found_in_a_stream(config, tmp_path):
    damaged = damaged_copy(config, tmp_path)
    damaged.data.ingest = "stream"
    loader = open_loader(damaged, 0, 1)
    with pytest.raises(DataError, match=r"00003\.parquet .* is damaged: sha256"):
        list(islice(loader.batches(0), STEPS_PER_EPOCH))


@pytest.mark.parametrize("ingest", ["memory", "stream"])
def test_a_batch_larger_than_the_data_is_refused_before_training(config, ingest):
    large = make_config(Path(config.data.uri), ingest)
    large.data.batch_size = 512
    storage = Storage(large.data.uri, large.storage)
    with pytest.raises(DataError, match=r"data\.batch_size=512 is more than the 300 records .* lower"):
        build_datasets(storage, read_manifest(storage), large)


def test_a_holdout_of_all_the_data_is_refused(config):
    greedy = make_config(Path(config.data.uri))
    greedy.data.holdout = COUNT
    storage = Storage(greedy.data.uri, greedy.storage)
    with pytest.raises(DataError, match=r"data\.holdout=330 leaves nothing of the 330 images"):
        build_datasets(storage, read_manifest(storage), greedy)
