"""Rows of one array in an npz file, read from where they lie: a part of a file of many GB costs that part.

Stored members (``np.savez``) are sought through; compressed ones are unpacked from their start, row by row, and what is
not wanted is dropped. Nothing is ever unpickled: arrays of objects, as dSprites' metadata, are not read.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from gem_ray.data.files import READ_AT_ONCE_BYTES, ZIP_LOCAL_HEADER
from gem_ray.data.images import check_array
from gem_ray.errors import DataError
from gem_ray.storage import Storage

T = TypeVar("T")
LOOKED_AT = 64
"""Images whose values tell whether an array holds {0, 1} or 0..255."""
MOST_LABEL_BYTES = 256 << 20
"""Of an array that is read whole; the labels of dSprites take 35 MB."""
MOST_DEFLATED = 1032
"""Bytes that one byte of deflate stands for at the most."""
DAMAGES = (zipfile.BadZipFile, ValueError, EOFError, zlib.error, struct.error, NotImplementedError)


@dataclass(frozen=True)
class NpzRows:
    """The images in an array of an npz file, uint8 or bool [N, H, W], [N, H, W, 1] or [N, H, W, 3].

    Args:
        key: name of the array
        shape: N, H, W, C
        binary: black and white are 0 and 1 in the file
        fingerprint: of the whole file, by the checksums in its directory
    """

    storage: Storage
    name: str
    key: str
    shape: tuple[int, int, int, int]
    binary: bool
    fingerprint: str

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images [n, H, W, C], 0..255, of ascending row numbers.

        Raises:
            DataError: a damaged file, or values over 1 where the first images hold 0 and 1 alone
        """
        images = _read(self.storage, self.name, lambda archive: _rows(archive, self.key, rows))
        images = images.astype(np.uint8, copy=False).reshape(-1, *self.shape[1:])
        if not self.binary:
            return images
        if images.size and images.max() > 1:
            raise DataError(
                f"array {self.key} of {self.storage.uri}/{self.name} holds only 0 and 1 in its first {LOOKED_AT} "
                f"images and {images.max()} in another: write black and white as 0 and 255 throughout"
            )
        return images * np.uint8(255)

    def digest(self) -> str:
        """Changes where the file changes; hex."""
        return self.fingerprint


def open_rows(storage: Storage, name: str, keys: tuple[str, ...], max_pixels: int) -> NpzRows:
    """Find the images in an npz file: the first of ``keys`` that is there.

    Args:
        max_pixels: of an image, by the array's header

    Raises:
        DataError: no such file or array, or one that holds no images or too large ones
    """

    def look(archive: zipfile.ZipFile) -> NpzRows:
        found = [key for key in keys if f"{key}.npy" in archive.namelist()]
        if not found:
            names = ", ".join(array_names(archive))
            raise DataError(f"{storage.uri}/{name} holds the arrays {names}; name the images {' or '.join(keys)}")
        key = found[0]
        with _array(archive, key) as (stream, shape, dtype):
            where = f"array {key} of {storage.uri}/{name}"
            image_shape = _checked(shape, dtype, where)
            check_array(*image_shape[1:3], max_pixels, where)
            binary = _is_binary(stream, min(LOOKED_AT, shape[0]) * int(np.prod(shape[1:])))
        lines = (f"{member.filename}\0{member.CRC}\0{member.file_size}\n" for member in archive.infolist())
        return NpzRows(storage, name, key, image_shape, binary, hashlib.sha256("".join(lines).encode()).hexdigest())

    return _read(storage, name, look)


def read_arrays(storage: Storage, name: str, keys: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
    """Those of the small arrays ``keys`` that are in the file, whole.

    Raises:
        DataError: a damaged file, an array of Python objects, or one of over ``MOST_LABEL_BYTES``
    """

    def read(archive: zipfile.ZipFile) -> dict[str, NDArray[np.generic]]:
        arrays = {}
        for key in keys:
            if f"{key}.npy" in archive.namelist():
                arrays[key] = _whole(archive, key, f"array {key} of {storage.uri}/{name}")
        return arrays

    return _read(storage, name, read)


def array_names(archive: zipfile.ZipFile) -> list[str]:
    """Names of the arrays in an npz file."""
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _read(storage: Storage, name: str, action: Callable[[zipfile.ZipFile], T]) -> T:
    def attempt() -> T:
        with storage.fs.open(storage.path(name), "rb") as file, zipfile.ZipFile(file) as archive:
            return action(archive)

    try:
        return storage.attempt(f"read {name}", attempt)
    except FileNotFoundError as error:
        raise DataError(f"{storage.uri}/{name} does not exist; check prepare.source") from error
    except DAMAGES as error:
        raise DataError(
            f"{storage.uri}/{name} cannot be read as npz: {type(error).__name__}: {error}; write it again"
        ) from error


def _whole(archive: zipfile.ZipFile, key: str, where: str) -> NDArray[np.generic]:
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as stream:
        shape, _, dtype = _header(stream)
        size = max(info.file_size, _num_bytes(shape, dtype))
        if size > MOST_LABEL_BYTES:
            raise DataError(f"{where} takes {size:,} bytes; labels may take {MOST_LABEL_BYTES:,}: leave it out")
        stream.seek(0)
        # With a number, for read() unpacks the member to its end whatever size the directory says.
        content = stream.read(info.file_size)
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran order, dtype); the stream then stands at the first value."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read_header(stream)


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return math.prod(shape) * dtype.itemsize


@contextmanager
def _array(archive: zipfile.ZipFile, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype]]:
    """(stream that stands at the first row, shape, dtype) of an array."""
    info = archive.getinfo(f"{key}.npy")
    with _member(archive, info) as stream:
        shape, fortran_order, dtype = _header(stream)
        if dtype.hasobject:
            raise DataError(
                f"array {key} of {archive.filename or 'the npz file'} holds pickled Python objects, which are never "
                "loaded (allow_pickle=False); write numbers in their place"
            )
        if fortran_order:
            raise DataError(f"array {key} lies column by column (Fortran order); write it again in C order")
        packed = archive.start_dir - info.header_offset
        held = min(info.file_size, packed * (1 if info.compress_type == zipfile.ZIP_STORED else MOST_DEFLATED))
        if _num_bytes(shape, dtype) > held:
            raise EOFError(f"{key} is {dtype} {list(shape)} by its header, the file holds at most {held:,} bytes of it")
        yield stream, shape, dtype


@contextmanager
def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        with archive.open(info) as stream:
            yield stream
        return
    # The file itself, in which any row can be sought; zipfile would read and check all bytes before it.
    file = archive.fp
    assert file is not None
    file.seek(info.header_offset)
    fields = ZIP_LOCAL_HEADER.unpack(file.read(ZIP_LOCAL_HEADER.size))
    file.seek(info.header_offset + ZIP_LOCAL_HEADER.size + fields[-2] + fields[-1])
    yield file


def _rows(archive: zipfile.ZipFile, key: str, rows: NDArray[np.int64]) -> NDArray[np.generic]:
    """Rows [n, ...] of an array by ascending numbers; neighbours are read in one go."""
    with _array(archive, key) as (stream, shape, dtype):
        width = int(np.prod(shape[1:])) * dtype.itemsize
        first = stream.tell()
        values = np.empty((len(rows), width), np.uint8)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []
        for run in runs:
            stream.seek(first + int(rows[run[0]]) * width)
            place = values[run[0] : run[-1] + 1].reshape(-1)
            for data in _pieces(stream, len(place)):
                place[: len(data)] = data
                place = place[len(data) :]
        return values.view(dtype).reshape(len(rows), *shape[1:])


def _pieces(stream: IO[bytes], num_bytes: int) -> Iterator[NDArray[np.uint8]]:
    """The next bytes, a bounded number at a time."""
    for start in range(0, num_bytes, READ_AT_ONCE_BYTES):
        wanted = min(READ_AT_ONCE_BYTES, num_bytes - start)
        data = stream.read(wanted)
        if len(data) != wanted:
            raise EOFError(f"{start + len(data):,} bytes of {num_bytes:,}")
        yield np.frombuffer(data, np.uint8)


def _is_binary(stream: IO[bytes], num_bytes: int) -> bool:
    """Whether the next bytes are 0 and 1 alone; False where there are none."""
    return num_bytes > 0 and all(int(data.max()) <= 1 for data in _pieces(stream, num_bytes))


def _checked(shape: tuple[int, ...], dtype: np.dtype, where: str) -> tuple[int, int, int, int]:
    full = (*shape, 1) if len(shape) == 3 else shape
    if dtype not in (np.uint8, np.bool_) or len(full) != 4 or full[3] not in (1, 3):
        raise DataError(
            f"{where} is {dtype} {list(shape)}; needed is uint8, 0..255 or {{0, 1}}, of shape "
            "[N, H, W], [N, H, W, 1] or [N, H, W, 3]"
        )
    return full[0], full[1], full[2], full[3]
