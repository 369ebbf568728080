"""What may be trained on, and what is held out, with and without official splits."""

from __future__ import annotations

import pytest

from gem_ray.config import DataConfig, StorageConfig
from gem_ray.data.loader import holdout_records, num_train
from gem_ray.data.manifest import Manifest, ShardEntry
from gem_ray.errors import DataError
from gem_ray.storage import Storage


def make_manifest(splits: dict[str, int] | None, count: int = 100) -> Manifest:
    entry = ShardEntry(name="shards/00000.parquet", count=count, num_bytes=1, sha256="0" * 64)
    return Manifest(
        shape=(8, 8, 3), shards=(entry,), source="x", attributes=None, seed=0, num_skipped=0, settings={}, splits=splits
    )


@pytest.mark.parametrize(
    ("splits", "holdout", "expected"),
    [
        (None, 10, 90),
        ({"train": 60, "valid": 20, "test": 20}, 10, 60),  # neither valid nor test is ever trained on
        ({"train": 60, "valid": 20, "test": 20}, 20, 60),
        ({"train": 100}, 10, 90),
        ({"train": 95, "valid": 5}, 5, 95),
    ],
)
def test_training_sees_the_train_split_less_the_hold_out(splits, holdout, expected):
    assert num_train(DataConfig(holdout=holdout), make_manifest(splits)) == expected


@pytest.mark.parametrize(
    ("splits", "holdout", "message"),
    [
        (None, 100, r"data\.holdout=100 leaves nothing of the 100 images"),
        ({"test": 100}, 10, r"leaves nothing of the 100 images .* \(100 test\) to train on"),
        ({"train": 95, "valid": 5}, 10, r"data\.holdout=10 is more than the 5 images of the valid split"),
    ],
)
def test_a_hold_out_that_leaves_nothing_or_mixes_splits_is_refused(splits, holdout, message):
    with pytest.raises(DataError, match=message):
        num_train(DataConfig(holdout=holdout), make_manifest(splits))


@pytest.mark.parametrize("splits", [None, {"train": 95, "valid": 5}])
def test_evaluation_mixes_no_splits_either(splits, tmp_path):
    with pytest.raises(DataError, match=r"data\.holdout=(100|101) "):
        holdout_records(Storage(str(tmp_path), StorageConfig()), make_manifest(splits), DataConfig(holdout=100))
