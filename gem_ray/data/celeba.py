"""CelebA as a source: all images with their 40 labels, and the official partition into train, valid and test.

The layout is told in ``gem_ray.data.labelled``. Labels are stored as 1, 0 and NaN under the names that attributes are
asked about: ``Bushy_Eyebrows`` as "bushy eyebrows", and those of ``CELEBA_NAMES`` so, ``No_Beard`` turned round.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.files import FileItem
from gem_ray.data.labelled import (
    CELEBA_NAMES,
    IMAGES,
    LABELS,
    PARTITION,
    SPLITS,
    plain_name,
    read_labels,
    read_lines,
    read_partition,
)
from gem_ray.data.listings import FileListing, KnownListing
from gem_ray.errors import DataError
from gem_ray.storage import Storage

IDENTITIES = "identity_CelebA.txt"


def list_celeba(folder: Storage, sizes: dict[str, int]) -> KnownListing:
    """The images that the label file names.

    Args:
        sizes: bytes of every object in the folder

    Raises:
        DataError: a file that is missing, damaged or contradicts another, or a person in two splits
    """
    table = read_labels(folder)
    missing = [file for file in table.files if f"{IMAGES}/{file}" not in sizes]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(table.files):,} images that {LABELS} names are not in {folder.uri}/{IMAGES}, "
            f"{missing[0]} for one; unpack the whole of img_align_celeba.zip there"
        )
    items = tuple(FileItem(file, f"{IMAGES}/{file}", 0, sizes[f"{IMAGES}/{file}"]) for file in table.files)
    splits = None
    if PARTITION in sizes:
        splits = read_partition(folder, table.files)
        if (splits < 0).any():
            first = table.files[int(np.flatnonzero(splits < 0)[0])]
            raise DataError(
                f"{folder.uri}/{PARTITION} does not say the split of {(splits < 0).sum():,} images, {first} for one; "
                "fetch it again"
            )
        if IDENTITIES in sizes:
            check_identities(folder, table.files, splits)
    names, values = stored_labels(table.names, table.values)
    return KnownListing(FileListing(folder, items), names, values, splits)


def stored_labels(labels: tuple[str, ...], values: NDArray[np.int8]) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Names and values float32 [N, K] of labels -1, 0 and 1 [N, K], as they are stored."""
    names, columns = [], []
    for column, label in enumerate(labels):
        known_as = {name: sign for name, sign in CELEBA_NAMES.items() if sign.removeprefix("-") == label}
        name, source = next(iter(known_as.items()), (plain_name(label), label))
        signed = values[:, column].astype(np.float32) * (-1 if source.startswith("-") else 1)
        names.append(name)
        columns.append(np.where(signed == 0, np.nan, (signed + 1) / 2).astype(np.float32))
    return tuple(names), np.stack(columns, axis=1)


def check_identities(folder: Storage, files: tuple[str, ...], splits: NDArray[np.int8]) -> None:
    """See that nobody is in two splits: the partition is by person, so that a test face is a new one.

    Raises:
        DataError: a damaged identity file, or a person who is
    """
    split_of = dict(zip(files, splits.tolist()))
    seen: dict[str, set[int]] = defaultdict(set)
    for number, line in enumerate(read_lines(folder, IDENTITIES), start=1):
        columns = line.split()
        if len(columns) != 2 or not columns[1].isdigit():
            raise DataError(f"{folder.uri}/{IDENTITIES}, line {number}: needed are a file name and a number")
        if columns[0] in split_of:
            seen[columns[1]].add(split_of[columns[0]])
    torn = [person for person, found in seen.items() if len(found) > 1]
    if torn:
        names = [name for name, code in SPLITS.items() if code in seen[torn[0]]]
        raise DataError(
            f"{folder.uri}/{PARTITION} puts {len(torn)} people of {IDENTITIES} in several splits, person {torn[0]} in "
            f"{' and '.join(names)}; fetch both files again, or remove {IDENTITIES} to do without this check"
        )
