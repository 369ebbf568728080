"""What ``jobs.encode`` reads: prepared data, or image files as they are; both in pieces, as blocks of pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import ray
import ray.data

from gem_ray.config import EncodeConfig, GemConfig
from gem_ray.data.images import ImageShape
from gem_ray.data.listings import FileListing, KnownListing
from gem_ray.data.lmdb_files import LmdbListing
from gem_ray.data.manifest import Manifest, has_manifest, read_manifest
from gem_ray.data.order import Piece
from gem_ray.data.ray_manners import well_behaved
from gem_ray.data.reading import READERS, pieces_dataset
from gem_ray.data.shard_task import Skipped, decode_files
from gem_ray.data.sources import list_source
from gem_ray.errors import ConfigError, DataError
from gem_ray.inference.trained import TrainedModel
from gem_ray.storage import Storage

Files = FileListing | LmdbListing


@dataclass(frozen=True)
class Prepared:
    """Images of prepared data."""

    storage: Storage
    manifest: Manifest

    @property
    def starts(self) -> list[int]:
        """Number of the first record of each shard, and the count behind the last."""
        return [int(start) for start in self.manifest.starts]

    def digest(self) -> str:
        """Changes where an image changes."""
        return json.dumps([shard.sha256 for shard in self.manifest.shards])

    def blocks(self, pieces: Sequence[Piece]) -> ray.data.Dataset:
        """Columns index and pixels."""
        return pieces_dataset(self.storage, self.manifest, pieces)


@dataclass(frozen=True)
class ImageFiles:
    """Images in files, cropped and resized as the model's were."""

    listing: Files
    shape: ImageShape

    @property
    def starts(self) -> list[int]:
        """All files are one stretch."""
        return [0, len(self.listing)]

    def digest(self) -> str:
        """Changes where the list of files or their shape changes."""
        return self.listing.digest() + repr(self.shape)

    def blocks(self, pieces: Sequence[Piece]) -> ray.data.Dataset:
        """Columns index, pixels (null where a file is no usable image), file and skipped."""
        positions = [np.arange(piece.low, piece.high) for piece in pieces]
        parts = [ray.put((numbers, self.listing.part(numbers))) for numbers in positions]
        numbers = ray.data.from_items([{"id": number} for number in range(len(parts))], override_num_blocks=len(parts))
        read = partial(read_files, parts=parts, shape=self.shape)
        tasks = numbers.map_batches(
            read, batch_size=None, batch_format="pyarrow", num_cpus=0, compute=ray.data.TaskPoolStrategy(size=READERS)
        )
        tasks.context.execution_options.preserve_order = True
        return well_behaved(tasks)


def find_source(wanted: EncodeConfig, model: TrainedModel, config: GemConfig) -> Prepared | ImageFiles:
    """What ``encode.source`` names.

    Raises:
        ConfigError: it is neither
        DataError: nothing is there, or images of another size
    """
    if not wanted.source and model.data is None:
        raise ConfigError("a saved model brings no data: name prepared data or image files as encode.source")
    if wanted.source:
        storage = Storage(wanted.source.rstrip("/"), config.storage)
    else:
        assert model.data is not None
        storage = Storage(model.data.uri, model.data.storage)
    if not wanted.source or has_manifest(storage):
        manifest = read_manifest(storage)
        if manifest.shape[0] != model.image_size:
            raise DataError(
                f"{storage.uri} holds images of side {manifest.shape[0]}, the model was trained on "
                f"{model.image_size}; prepare them with prepare.image_size={model.image_size}"
            )
        return Prepared(storage, manifest)
    listing = list_source(wanted.source, 0, config.storage, model.shape.max_pixels)
    files = listing.images if isinstance(listing, KnownListing) else listing
    if not isinstance(files, FileListing | LmdbListing):
        raise ConfigError(f"encode.source={wanted.source} is neither image files nor prepared: run jobs.prepare on it")
    return ImageFiles(files, model.shape)


def read_files(task: pa.Table, parts: list[ray.ObjectRef], shape: ImageShape) -> pa.Table:
    """One task: the files of the parts named by the column ``id``, decoded."""
    tables = []
    for number in task["id"].to_pylist():
        positions, listing = ray.get(parts[number])
        made = decode_files(listing, shape)
        images = [made[place] for place in range(len(positions))]
        labels = [
            listing.label(place) if isinstance(listing, LmdbListing) else listing.items[place].label
            for place in range(len(positions))
        ]
        pixels = [None if isinstance(image, Skipped) else image.tobytes() for image in images]
        columns = {
            "index": pa.array(positions, pa.int64()),
            "pixels": pa.array(pixels, pa.binary(3 * shape.size**2)),
            "file": pa.array(labels, pa.string()),
            "skipped": pa.array([image.cause if isinstance(image, Skipped) else None for image in images], pa.string()),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)
