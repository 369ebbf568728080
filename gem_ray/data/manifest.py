"""The manifest of prepared data: what a data folder holds, written last, so that without it the data are not finished.

It holds the sha256 of every shard and a hash of its own content; one that contradicts either is refused.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One shard: its name in the data folder, how many records it holds, and what its bytes must be."""

    name: str
    count: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a data folder holds.

    Args:
        shape: height, width, channels of every image
        shards: in the order of the records; record numbers run through all of them from 0
        source: where the images come from, as the user named it
        attributes: names of the attribute columns, None where no attributes are known
        seed: of drawn faces, and of the order of the records
        num_skipped: source images that could not be used (``skipped.json`` lists them)
        settings: every option the shards depend on; a second ``jobs.prepare`` must agree with it
        splits: records of each official split, in the order in which they lie here, the one to train on first; None
            where the source has no splits
        relations: true Somers' D of the attributes [source][target] where it is known exactly; None otherwise
    """

    shape: tuple[int, int, int]
    shards: tuple[ShardEntry, ...]
    source: str
    attributes: tuple[str, ...] | None
    seed: int
    num_skipped: int
    settings: dict[str, Any]
    splits: dict[str, int] | None = None
    relations: tuple[tuple[float, ...], ...] | None = None

    @property
    def count(self) -> int:
        """Records in all."""
        return sum(shard.count for shard in self.shards)

    @property
    def starts(self) -> np.ndarray:
        """Record number of the first record of each shard, and the count behind the last: int64 [shards + 1]."""
        return np.concatenate([[0], np.cumsum([shard.count for shard in self.shards], dtype=np.int64)])

    def num_train(self, holdout: int) -> int:
        """Training may see records [0, this): of the train split alone, and none of the last ``holdout``."""
        train = self.count if self.splits is None else self.splits.get("train", 0)
        return max(0, min(train, self.count - holdout))

    @property
    def num_bytes(self) -> int:
        """Bytes of all pixels."""
        return self.count * self.shape[0] * self.shape[1] * self.shape[2]

    def to_json(self) -> str:
        """As written to storage, with a hash of all the rest."""
        content = {"schema_version": SCHEMA_VERSION, "count": self.count, **asdict(self)}
        return json.dumps({**content, "sha256": content_sha256(content)}, indent=1)


def has_manifest(storage: Storage) -> bool:
    """Whether the folder holds finished data."""
    return storage.exists(MANIFEST)


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Write the manifest: from here on the data are complete."""
    storage.write_bytes(MANIFEST, manifest.to_json().encode())


def read_manifest(storage: Storage) -> Manifest:
    """Read and check the manifest.

    Raises:
        DataError: there is none, it is of another schema version, or it contradicts itself
    """
    try:
        text = storage.read_bytes(MANIFEST, _agrees_with_itself)
    except FileNotFoundError as error:
        raise DataError(
            f"no {MANIFEST} in {storage.uri}: the data are missing or not finished; run python -m jobs.prepare "
            "(it goes on where it was stopped)"
        ) from error
    where = f"{storage.uri}/{MANIFEST}"
    try:
        content = parse_json(text)
        version = content.pop("schema_version")
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{where} is not a manifest ({type(error).__name__}: {error}); prepare the data again"
        ) from error
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{where} has schema version {version!r}, this version of gem_ray reads {SCHEMA_VERSION}; prepare the data "
            "again under another data.uri, or use the version of gem_ray that wrote them"
        )
    if content.pop("sha256", None) not in {None, content_sha256({"schema_version": version, **content})}:
        raise DataError(f"{where} is damaged: its content does not have the sha256 it carries; prepare the data again")
    try:
        count = content.pop("count")
        manifest = typed(Manifest, content)
    except (ValueError, KeyError) as error:
        raise DataError(f"{where} is damaged ({type(error).__name__}: {error}); prepare the data again") from error
    if not _consistent(manifest, count):
        raise DataError(
            f"{where} contradicts itself: count {count}, {manifest.count} records in {len(manifest.shards)} shards, "
            f"splits {manifest.splits}, images of {manifest.shape}; prepare the data again"
        )
    return manifest


def content_sha256(content: dict[str, Any]) -> str:
    """Hash of a manifest's JSON content without the hash itself. Data from before there was one carry none."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _agrees_with_itself(text: bytes) -> bool:
    try:
        content = parse_json(text)
        return content.pop("sha256", None) in {None, content_sha256(content)}
    except (ValueError, AttributeError, TypeError):
        return False


def _consistent(manifest: Manifest, count: object) -> bool:
    whole = manifest.splits is None or (
        min(manifest.splits.values(), default=0) >= 0 and sum(manifest.splits.values()) == count
    )
    sizes = [number for shard in manifest.shards for number in (shard.count, shard.num_bytes)]
    sane = min(sizes, default=0) > 0 and min(manifest.shape) > 0 and manifest.shape[2] == 3
    return whole and sane and manifest.count == count
