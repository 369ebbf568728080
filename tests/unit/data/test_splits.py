"""Splits told by names."""

from __future__ import annotations

import pytest

from gem_ray.data.splits import splits_by_name


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["train/a.jpg", "val/b.jpg", "test/sub/c.jpg"], [0, 1, 2]),
        (["bedroom_train_lmdb/x", "bedroom_val_lmdb/x", "test_lmdb/x"], [0, 1, 2]),
        (["lsun/Train/0/a.webp", "lsun/Validation/0/b.webp"], [0, 1]),
        (["train/a.jpg", "b.jpg"], None),  # one image that belongs nowhere: then none does
        (["a.jpg", "train.jpg", "test.jpg"], None),
        (["trains/a.jpg", "contest/b.jpg"], None),
        ([], None),
    ],
)
def test_folders_say_the_split(labels, expected):
    found = splits_by_name(labels)
    assert (None if found is None else found.tolist()) == expected


def test_ffhq_has_60000_images_for_training_by_their_number():
    names = [f"{number // 1000 * 1000:05d}/{number:05d}.png" for number in range(70_000)]
    splits = splits_by_name(names)
    assert (splits == 0).sum() == 60_000
    assert splits[59_999] == 0
    assert splits[60_000] == 1
    assert splits_by_name(names[:69_999]) is None  # a part of it says nothing of the rest
