"""The work of one Ray task of ``jobs.prepare``: read, decode (or draw) the images of one shard, and write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import ray

from gem_ray.data.drawn import DRAWN
from gem_ray.data.files import read_files
from gem_ray.data.images import BadImageError, ImageShape, decode_image, fit_image
from gem_ray.data.listings import ArrayListing, DrawnListing, FileListing, Images, KnownListing, Listing, RowListing
from gem_ray.data.lmdb_files import LmdbListing
from gem_ray.data.manifest import ShardEntry
from gem_ray.data.shards import encode_shard
from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

PROGRESS = "progress"


@dataclass(frozen=True)
class Skipped:
    """A source image that could not be used: what it is called, the cause for counting, the detail for a person."""

    name: str
    cause: str
    detail: str


@dataclass(frozen=True)
class ShardWork:
    """What one task does: the images of ``part``, whose positions in the whole listing are ``positions``."""

    number: int
    positions: np.ndarray
    part: Listing
    shape: ImageShape
    seed: int
    target: Storage


@dataclass(frozen=True)
class ShardDone:
    """What came of it; ``entry`` is None where no image could be used."""

    number: int
    entry: ShardEntry | None
    skipped: tuple[Skipped, ...]

    def to_json(self) -> str:
        """As it is noted in storage."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> ShardDone:
        """The inverse of ``to_json``.

        Raises:
            DataError: anything else
        """
        try:
            return typed(ShardDone, parse_json(text))
        except ValueError as error:
            raise DataError(
                f"the note of a finished shard is damaged ({error}); delete {PROGRESS}/ to begin anew"
            ) from error

    @property
    def num_images(self) -> int:
        """Source images that are dealt with."""
        return (self.entry.count if self.entry else 0) + len(self.skipped)


def progress_name(number: int) -> str:
    """Where the outcome of a shard is noted."""
    return f"{PROGRESS}/{number:05d}.json"


def make_shard(row: dict[str, int], parts: list[ray.ObjectRef]) -> dict[str, str]:
    """One task: decode or draw, write the shard, then note that it is there.

    Args:
        row: {"id": which of the parts}
        parts: one ``ShardWork`` for each task

    Returns:
        {"done": ``ShardDone`` as JSON}
    """
    work: ShardWork = ray.get(parts[row["id"]])
    skipped: list[Skipped] = []
    images: list[np.ndarray] = []
    items: list[int] = []
    attributes: list[np.ndarray | None] = []
    for position, image, values in make_images(work):
        if isinstance(image, Skipped):
            skipped.append(image)
            continue
        images.append(image)
        items.append(position)
        attributes.append(values)
    entry = None
    if images:
        names = attribute_names(work.part)
        columns = np.array(attributes, np.float32) if names else None
        data = encode_shard(np.stack(images), np.array(items, np.int64), columns, names)
        name = f"shards/{work.number:05d}.parquet"
        work.target.write_bytes(name, data)
        entry = ShardEntry(name=name, count=len(images), num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    done = ShardDone(work.number, entry, tuple(skipped)).to_json()
    work.target.write_bytes(progress_name(work.number), done.encode())
    return {"done": done}


def attribute_names(listing: Listing) -> tuple[str, ...]:
    """Names of the attributes that are known of a listing's images; () where none are."""
    if isinstance(listing, DrawnListing):
        return DRAWN[listing.name].factors
    return listing.names if isinstance(listing, KnownListing) else ()


def make_images(work: ShardWork) -> Iterator[tuple[int, np.ndarray | Skipped, np.ndarray | None]]:
    """(position, image or why there is none, attributes) in the order of the positions."""
    part, size = work.part, work.shape.size
    if isinstance(part, DrawnListing):
        for position in work.positions.tolist():
            image, attributes = DRAWN[part.name].draw(work.seed, position, size)
            yield position, image, attributes
        return
    images = part.images if isinstance(part, KnownListing) else part
    values = part.values if isinstance(part, KnownListing) else None
    for place, (position, made) in enumerate(zip(work.positions.tolist(), fitted(images, work), strict=True)):
        yield position, made, None if values is None else values[place]


def fitted(images: Images, work: ShardWork) -> Iterator[np.ndarray | Skipped]:
    """Each image of a part, in order."""
    if isinstance(images, ArrayListing):
        for position, pixels in zip(work.positions.tolist(), images.images, strict=True):
            yield fit_or_skip(position, pixels, work.shape)
        return
    assert not isinstance(images, RowListing), "rows are read by the driver"
    made = decode_files(images, work.shape)
    for place in range(len(images)):
        yield made[place]


def fit_or_skip(position: int, pixels: np.ndarray, shape: ImageShape) -> np.ndarray | Skipped:
    """An image that was an array from the start."""
    try:
        return fit_image(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))), shape)
    except BadImageError as error:
        return Skipped(f"image {position}", error.cause, error.detail)


def decode_files(part: FileListing | LmdbListing, shape: ImageShape) -> dict[int, np.ndarray | Skipped]:
    """Every file of the part by its place in it. A bad image is skipped here and nowhere else."""
    made: dict[int, np.ndarray | Skipped] = {}
    for place, data in contents(part, shape):
        try:
            if isinstance(data, BadImageError):
                raise data
            made[place] = decode_image(data, shape)
        except BadImageError as error:
            label = part.label(place) if isinstance(part, LmdbListing) else part.items[place].label
            made[place] = Skipped(label, error.cause, error.detail)
    return made


def contents(part: FileListing | LmdbListing, shape: ImageShape) -> Iterator[tuple[int, bytes | BadImageError]]:
    """(place, bytes of the file) in the order that costs least."""
    if isinstance(part, LmdbListing):
        return part.contents()
    return read_files(part.storage, part.items, shape.max_file_bytes)
