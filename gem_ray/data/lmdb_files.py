"""Images in LMDB folders, as LSUN comes: ``bedroom_train_lmdb/data.mdb``, each value the bytes of a WEBP.

Local folders only: LMDB maps its file into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.storage import Storage

DATA = "data.mdb"


@dataclass(frozen=True)
class LmdbListing:
    """Entries of LMDB folders.

    Args:
        root: the folder below which they lie
        folders: their names in it, "" for itself
        folder: int8 [N], which of ``folders`` an image is in
        keys: bytes [N]
    """

    root: Storage
    folders: tuple[str, ...]
    folder: NDArray[np.int8]
    keys: NDArray[np.bytes_]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, positions: NDArray[np.int64]) -> LmdbListing:
        """Only these images."""
        return LmdbListing(self.root, self.folders, self.folder[positions], self.keys[positions])

    def digest(self) -> str:
        """Changes where the list of images changes; hex."""
        said = hashlib.sha256(repr((self.folders, self.keys.dtype.str)).encode())
        said.update(self.folder.tobytes())
        said.update(self.keys.tobytes())
        return said.hexdigest()

    def label(self, place: int) -> str:
        """What a person knows an image by."""
        return f"{self.folders[self.folder[place]]}/{self.keys[place].decode(errors='replace')}".lstrip("/")

    def contents(self) -> Iterator[tuple[int, bytes]]:
        """(place, bytes) of every image, folder by folder.

        Raises:
            DataError: a folder cannot be read, or an entry has vanished
        """
        for number, name in enumerate(self.folders):
            places = np.flatnonzero(self.folder == number)
            if not len(places):
                continue
            with _entries(self.root, name) as entries:
                for place in places.tolist():
                    data = entries.get(bytes(self.keys[place]))
                    if data is None:
                        raise DataError(
                            f"{self.label(place)} has vanished from {self.root.uri} since the source was listed; run "
                            "jobs.prepare again when the source is at rest"
                        )
                    yield place, data


def list_lmdb(root: Storage, folders: Sequence[str]) -> LmdbListing:
    """All entries of some LMDB folders below ``root``, in the order of their keys.

    Raises:
        DataError: they cannot be read, lie on another machine, or lmdb is not installed
    """
    keys: list[bytes] = []
    counts = []
    for name in folders:
        with _entries(root, name) as entries:
            found = [bytes(key) for key in entries.cursor().iternext(keys=True, values=False)]
        odd = next((key for key in found if not key or key.endswith(b"\0")), None)
        if odd is not None:
            raise DataError(f"{root.uri}/{name} has the key {odd!r}: a key may not be empty or end in a zero byte")
        keys += found
        counts.append(len(found))
    folder = np.repeat(np.arange(len(folders), dtype=np.int8), counts)
    return LmdbListing(root, tuple(folders), folder, np.array(keys, dtype=np.bytes_))


@contextmanager
def _entries(root: Storage, name: str) -> Iterator[Any]:
    where = f"{root.uri}/{name}".rstrip("/")
    if not root.is_local:
        raise DataError(f"{where} is an LMDB folder, which is read by mapping its file: copy it to this machine first")
    lmdb = _lmdb(where)
    path = root.local_path / name
    try:
        # Without a lock, since a data set is often on a read-only disk, and nobody writes to it.
        with lmdb.open(str(path), readonly=True, lock=False, readahead=False, create=False) as environment:
            with environment.begin() as entries:
                yield entries
    except lmdb.Error as error:
        raise DataError(f"{where} cannot be read as LMDB: {type(error).__name__}: {error}; fetch it again") from error


def _lmdb(source: str) -> ModuleType:
    try:
        import lmdb
    except ModuleNotFoundError as error:
        raise DataError(f"{source} needs the package lmdb: pip install 'gem-ray[datasets]'") from error
    return lmdb
