"""Official splits, as they are told by names: folders called train, val or test, and FFHQ's numbering."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.labelled import SPLITS

WORDS = {"train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid", "test": "test"}
FFHQ_COUNT, FFHQ_TRAIN = 70_000, 60_000
FFHQ_NAME = re.compile(r"(?:.*/)?(\d{5})\.\w+")


def splits_by_name(labels: Sequence[str]) -> NDArray[np.int8] | None:
    """The split of every file, numbered as in ``SPLITS``; None where their names tell none.

    A folder on the way to the file says so, as ``train/`` or LSUN's ``bedroom_train_lmdb/``, for all files or for
    none; and the 70,000 images of FFHQ are 60,000 for training and 10,000 for validation, by their number.

    Args:
        labels: file names with their folders, forward slashes
    """
    found = [_split_of(label) for label in labels]
    if found and all(name is not None for name in found):
        return np.array([SPLITS[name] for name in found if name is not None], dtype=np.int8)
    numbers = [FFHQ_NAME.fullmatch(label) for label in labels]
    if len(labels) == FFHQ_COUNT and all(numbers):
        order = np.array([int(match.group(1)) for match in numbers if match])
        return np.where(order < FFHQ_TRAIN, SPLITS["train"], SPLITS["valid"]).astype(np.int8)
    return None


def _split_of(label: str) -> str | None:
    for folder in label.split("/")[:-1]:
        for word in folder.lower().split("_"):
            if word in WORDS:
                return WORDS[word]
    return None
