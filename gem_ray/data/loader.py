"""What training reads: batches of uint8 images, resumable at any step at no cost.

Two ways, one interface (``gem_ray.data.batch``). ``memory``: the driver's Ray Data reads and checks every shard once
into the object store, each worker copies the records into one tensor, and batches come from a global shuffle.
``stream``: each worker reads its stretch of an epoch window by window through Ray Data, ahead of time. Order and step
counts are pure functions (``gem_ray.data.order``); Ray Data's shuffle buffer yields short batches and is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ray.data
import ray.train

from gem_ray.config import DataConfig, GemConfig
from gem_ray.data.batch import Batch, Loader
from gem_ray.data.held import HeldImages
from gem_ray.data.manifest import Manifest, read_manifest
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.data.order import Piece, steps_per_epoch
from gem_ray.data.ray_manners import quiet_ray_data, raising_own_errors
from gem_ray.data.reading import pieces_dataset
from gem_ray.data.shards import Records, read_records
from gem_ray.data.stream import StreamLoader
from gem_ray.errors import DataError
from gem_ray.storage import Storage

__all__ = [
    "Batch",
    "Loader",
    "build_datasets",
    "chosen_ingest",
    "holdout_records",
    "num_train",
    "open_loader",
    "open_loaders",
]
DATASET = "train"


def chosen_ingest(config: DataConfig, manifest: Manifest) -> str:
    """``memory`` or ``stream``: what ``data.ingest`` means for these data."""
    if config.ingest != "auto":
        return config.ingest
    return "memory" if manifest.num_bytes <= config.memory_limit_gb * 1e9 else "stream"


def num_train(config: DataConfig, manifest: Manifest) -> int:
    """Records [0, num_train) are trained on; the last ``data.holdout`` are held out, and so is every other split.

    Raises:
        DataError: nothing is left, or the hold-out would mix two splits
    """
    count = manifest.num_train(config.holdout)
    if count < 1:
        what = "" if manifest.splits is None else f" ({_splits_in_words(manifest)})"
        raise DataError(
            f"data.holdout={config.holdout} leaves nothing of the {manifest.count} images in {config.uri}"
            f"{what} to train on; lower data.holdout, or prepare more images, the train split among them"
        )
    _check_holdout(config, manifest)
    return count


def _check_holdout(config: DataConfig, manifest: Manifest) -> None:
    *_, last = manifest.splits or {"": manifest.count}
    if manifest.splits is not None and config.holdout > manifest.splits[last]:
        raise DataError(
            f"data.holdout={config.holdout} is more than the {manifest.splits[last]} images of the {last} split in "
            f"{config.uri} ({_splits_in_words(manifest)}): the report would mix splits; lower data.holdout"
        )


def _splits_in_words(manifest: Manifest) -> str:
    return ", ".join(f"{count} {name}" for name, count in (manifest.splits or {}).items())


def build_datasets(
    storage: Storage, manifest: Manifest, config: GemConfig
) -> dict[str, ray.data.Dataset | Callable[[], ray.data.Dataset]]:
    """Driver: what ``TorchTrainer(datasets=...)`` gets, not to be split. All shards are read and checked here once.

    When streaming there is nothing to hand over: each worker reads its own stretch.

    Raises:
        DataError: a shard that is missing or damaged, or fewer images than one batch
        StorageError: storage cannot be read
    """
    steps_per_epoch(num_train(config.data, manifest), config.data.batch_size)
    if chosen_ingest(config.data, manifest) == "stream":
        return {}
    pieces = [Piece(number, 0, shard.count) for number, shard in enumerate(manifest.shards)]
    with quiet_ray_data(), raising_own_errors():
        return {DATASET: pieces_dataset(storage, manifest, pieces).materialize()}


def open_loader(config: GemConfig, lane: int, num_lanes: int) -> Loader:
    """Worker: the loader of one lane of ``num_lanes``; raises as ``open_loaders``."""
    return open_loaders(config, [lane], num_lanes)[0]


def open_loaders(config: GemConfig, lanes: Sequence[int], num_lanes: int) -> list[Loader]:
    """Worker: a loader for each of this rank's lanes. In memory they share the records; each streams its own, and
    they share the images that are held.

    Raises:
        DataError: fewer images than one batch, or damaged data
    """
    storage = Storage(config.data.uri, config.storage)
    manifest = read_manifest(storage)
    train, batch_size, seed = num_train(config.data, manifest), config.data.batch_size, config.train.seed
    if chosen_ingest(config.data, manifest) == "stream":
        held = HeldImages(storage, manifest)
        return [
            StreamLoader(
                storage,
                manifest,
                held,
                num_train=train,
                batch_size=batch_size,
                window_shards=config.data.window_shards,
                seed=seed,
                lane=lane,
                num_lanes=num_lanes,
            )
            for lane in lanes
        ]
    with quiet_ray_data(), raising_own_errors():
        tables = ray.train.get_dataset_shard(DATASET).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=2
        )
        rows = rows_of(tables, manifest)
    return [
        MemoryLoader(
            rows, manifest.shape, num_train=train, batch_size=batch_size, seed=seed, lane=lane, num_lanes=num_lanes
        )
        for lane in lanes
    ]


def holdout_records(storage: Storage, manifest: Manifest, config: DataConfig) -> Records:
    """The last ``data.holdout`` records, which training never sees.

    Raises:
        DataError: there are not so many, or not in one split
    """
    if manifest.splits is None:
        num_train(config, manifest)
    # Data prepared with prepare.split=test can be evaluated, though nobody may train on them.
    _check_holdout(config, manifest)
    return read_records(storage, manifest, manifest.count - config.holdout, manifest.count)
