"""Photographs whose attributes people have labelled, in the layout of CelebA.

    FOLDER/img_align_celeba/000001.jpg ...
    FOLDER/list_attr_celeba.txt       count, names of the labels, then "000001.jpg -1 1 ..." a line
    FOLDER/list_eval_partition.txt    optional: "000001.jpg 0" a line, with 0 train, 1 valid, 2 test

A label is 1 (present) or -1 (absent); 0 is ours, for "nobody knows", so that sparse labels can be told as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.images import BadImageError, ImageShape, decode_image
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage

IMAGES, LABELS, PARTITION = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
SPLITS = {"train": 0, "valid": 1, "test": 2}
CELEBA_NAMES = {"beard": "-No_Beard", "blond": "Blond_Hair", "makeup": "Heavy_Makeup", "glasses": "Eyeglasses"}
"""What CelebA calls attributes that are asked about under another name; a minus turns a label round."""
READERS = 8


@dataclass(frozen=True)
class LabelTable:
    """Labels as the file has them.

    Args:
        files: N names of images
        names: K names of labels
        values: int8 [N, K] of -1, 0 and 1
    """

    files: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.int8]


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [N, S, S, 3] and, for each attribute asked about, 1 present, 0 absent, NaN not known [N, n]."""

    images: NDArray[np.uint8]
    attributes: tuple[str, ...]
    truth: NDArray[np.float64]


def read_labelled(
    folder: Storage,
    attributes: Sequence[str],
    *,
    shape: ImageShape,
    num_images: int,
    split: str = "all",
    seed: int = 0,
) -> LabelledImages:
    """A random part of a labelled set, as training would see its pixels.

    Args:
        attributes: names as the MLLM is asked, or ``name:Label``, or ``name:-Label`` where the label says the opposite;
            a name alone takes the label of that name, or CelebA's name for it
        shape: crop and size, as of ``jobs.prepare``
        num_images: at most; 0 takes all that have a label
        split: ``train``, ``valid`` or ``test`` by the partition file, or ``all``
        seed: of which images

    Raises:
        DataError: a file that is missing, damaged, or contradicts another
        ConfigError: an attribute without a label of its name
    """
    table = read_labels(folder)
    asked = [_label_of(attribute, table, folder) for attribute in attributes]
    truth = np.stack([_truth(table, label) for _, label in asked], axis=1)
    usable = np.flatnonzero(_in_split(folder, table, split) & ~np.isnan(truth).all(axis=1))
    if usable.size == 0:
        raise DataError(
            f"no image of {folder.uri} (check.split={split}) has a label for {', '.join(attributes)}; "
            "choose other attributes or another split"
        )
    chosen = np.random.default_rng(seed).permutation(usable)[: num_images or None]
    chosen.sort()
    with ThreadPoolExecutor(READERS) as pool:
        images = list(pool.map(lambda row: _read_image(folder, table.files[row], shape), chosen.tolist()))
    return LabelledImages(np.stack(images), tuple(name for name, _ in asked), truth[chosen])


def read_labels(folder: Storage) -> LabelTable:
    """The labels of a folder.

    Raises:
        DataError: no such file, or one that is not in CelebA's layout; the line is named
    """
    lines = read_lines(folder, LABELS)
    where = f"{folder.uri}/{LABELS}"
    if len(lines) < 3 or len(lines[0].split()) != 1 or not lines[0].strip().isdigit():
        raise DataError(f"{where}: the first line must be the number of images, the second the names of the labels")
    names = tuple(lines[1].split())
    rows = [line.split() for line in lines[2:]]
    for number, row in enumerate(rows, start=3):
        if len(row) != len(names) + 1 or not set(row[1:]) <= {"-1", "0", "1"}:
            raise DataError(f"{where}, line {number}: needed are a file name and {len(names)} labels of -1, 0 or 1")
    if len(rows) != int(lines[0]):
        raise DataError(f"{where} lists {len(rows)} images and says {lines[0].strip()} at its top; fetch it again")
    values = np.array([row[1:] for row in rows], dtype=np.int8)
    return LabelTable(tuple(row[0] for row in rows), names, values)


def read_lines(folder: Storage, name: str) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        DataError: no such file, or no text
    """
    try:
        text = folder.read_bytes(name).decode()
    except FileNotFoundError as error:
        raise DataError(
            f"{folder.uri} has no {name}; needed is a folder in CelebA's layout ({IMAGES}/ and {LABELS})"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{folder.uri}/{name} is not text: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _label_of(attribute: str, table: LabelTable, folder: Storage) -> tuple[str, str]:
    """(name as asked, label with its sign) of one attribute of the options."""
    name, colon, label = attribute.partition(":")
    known = {plain_name(label): label for label in table.names}
    if not colon:
        label = known.get(plain_name(name), CELEBA_NAMES.get(name.casefold(), name))
    if label.removeprefix("-") not in table.names:
        raise ConfigError(
            f"attribute {attribute!r} has no label in {folder.uri}/{LABELS}; write name:Label (name:-Label where the "
            f"label says the opposite) with one of {', '.join(table.names)}"
        )
    return name, label


def plain_name(label: str) -> str:
    """``Bushy_Eyebrows`` as a person writes it."""
    return label.casefold().replace("_", " ")


def _truth(table: LabelTable, label: str) -> NDArray[np.float64]:
    values = table.values[:, table.names.index(label.removeprefix("-"))].astype(np.float64)
    values *= -1.0 if label.startswith("-") else 1.0
    return np.where(values == 0, np.nan, (values + 1.0) / 2.0)


def _in_split(folder: Storage, table: LabelTable, split: str) -> NDArray[np.bool_]:
    if split == "all":
        return np.ones(len(table.files), dtype=bool)
    return read_partition(folder, table.files) == SPLITS[split]


def read_partition(folder: Storage, files: Sequence[str]) -> NDArray[np.int8]:
    """The split of each file, as numbered in ``SPLITS``; -1 where the partition file does not name it.

    Raises:
        DataError: no such file, or one that is not in CelebA's layout; the line is named
    """
    parts: dict[str, str] = {}
    for number, line in enumerate(read_lines(folder, PARTITION), start=1):
        columns = line.split()
        if len(columns) != 2 or columns[1] not in {"0", "1", "2"}:
            raise DataError(f"{folder.uri}/{PARTITION}, line {number}: needed are a file name and 0, 1 or 2")
        parts[columns[0]] = columns[1]
    return np.array([int(parts.get(file, -1)) for file in files], dtype=np.int8)


def _read_image(folder: Storage, file: str, shape: ImageShape) -> NDArray[np.uint8]:
    where = f"{folder.uri}/{IMAGES}/{file}"
    try:
        return decode_image(folder.read_bytes(f"{IMAGES}/{file}"), shape)
    except FileNotFoundError as error:
        raise DataError(f"{where} is missing although {LABELS} names it; fetch it or remove its line") from error
    except BadImageError as error:
        raise DataError(f"{where} cannot be used: {error.cause}: {error.detail}; mend it or remove its line") from error
