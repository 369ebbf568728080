"""Image files in storage: on their own, or as members of a zip or a tar, read by byte ranges.

Archives are never unpacked to disk: a member is a label and some bytes, so its name cannot escape anywhere.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from gem_ray.data.images import BadImageError, Cause
from gem_ray.errors import DataError
from gem_ray.storage import ByteRange, Storage

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp")
OTHER_IMAGE_SUFFIXES = (".bmp", ".gif", ".tif", ".tiff", ".jp2", ".avif", ".heic", ".ppm", ".pgm", ".ico")
STORED, DEFLATED = 0, 8
ZIP_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
READ_AT_ONCE_BYTES = 16 << 20


@dataclass(frozen=True)
class FileItem:
    """One image file: ``length`` bytes from ``start`` of the object ``container``.

    Args:
        label: what the user knows it by
        compression: None for plain bytes; for a member of a zip its method, the bytes then begin at its local header
        crc: of the member's bytes in a zip
        size: of the member's bytes once unpacked
    """

    label: str
    container: str
    start: int
    length: int
    compression: int | None = None
    crc: int = 0
    size: int = 0


def is_image(name: str) -> bool:
    """Whether a name looks like an image's."""
    # Files of other image formats are listed too, to be counted and named as skipped in place of vanishing.
    last = name.rsplit("/", 1)[-1]
    return last.lower().endswith(IMAGE_SUFFIXES + OTHER_IMAGE_SUFFIXES) and not last.startswith("._")


def zip_items(name: str, file: IO[bytes]) -> list[FileItem]:
    """The images in a zip that lies in storage as ``name``."""
    with zipfile.ZipFile(file) as archive:
        members = sorted(archive.infolist(), key=lambda member: member.header_offset)
        # A member's local header may hold another extra field than the directory, so its bytes are taken to reach up
        # to the next member, or to the directory behind the last.
        ends = [member.header_offset for member in members[1:]] + [archive.start_dir]
    return [
        FileItem(
            member.filename,
            name,
            member.header_offset,
            end - member.header_offset,
            # Bit 0: encrypted. An impossible method makes it a bad record, listed by name.
            -1 if member.flag_bits & 1 else member.compress_type,
            member.CRC,
            member.file_size,
        )
        for member, end in zip(members, ends, strict=True)
        if not member.is_dir() and is_image(member.filename)
    ]


def tar_items(name: str, file: IO[bytes]) -> list[FileItem]:
    """The images in an uncompressed tar that lies in storage as ``name``."""
    with tarfile.open(fileobj=file, mode="r:") as archive:
        return [
            FileItem(member.name, name, member.offset_data, member.size)
            for member in archive
            if member.isreg() and not member.issparse() and is_image(member.name)
        ]


def read_files(
    storage: Storage, items: Sequence[FileItem], max_file_bytes: int
) -> Iterator[tuple[int, bytes | BadImageError]]:
    """The bytes of each file with its position in ``items``, in the order they lie in storage.

    A file that is bad in itself comes as ``BadImageError``; a fault of storage is raised, and so can never be counted
    as a bad image.

    Raises:
        StorageError: storage failed for good
        DataError: a file has vanished since the source was listed
    """
    order = sorted(range(len(items)), key=lambda i: (items[i].container, items[i].start))
    batch: list[int] = []
    waiting = 0
    for position in order:
        item = items[position]
        if max(item.length, item.size) > max_file_bytes:
            detail = (
                f"{max(item.length, item.size):,} bytes; no honest image of max_pixels needs over {max_file_bytes:,}"
            )
            yield position, BadImageError(Cause.TOO_MANY_PIXELS, detail)
            continue
        batch.append(position)
        waiting += item.length
        if waiting >= READ_AT_ONCE_BYTES:
            yield from _read_batch(storage, items, batch)
            batch, waiting = [], 0
    yield from _read_batch(storage, items, batch)


def _read_batch(
    storage: Storage, items: Sequence[FileItem], positions: list[int]
) -> Iterator[tuple[int, bytes | BadImageError]]:
    # An empty range is an error in S3.
    wanted = [position for position in positions if items[position].length > 0]
    ranges = [ByteRange(items[i].container, items[i].start, items[i].start + items[i].length) for i in wanted]
    try:
        found = dict(zip(wanted, storage.read_ranges(ranges), strict=True))
    except FileNotFoundError as error:
        raise DataError(
            f"{error} has vanished from {storage.uri} since the source was listed; run jobs.prepare again when the "
            "source is at rest"
        ) from error
    for position in positions:
        data: bytes | BadImageError = found.get(position, b"")
        if items[position].compression is not None:
            data = _unpack(items[position], found.get(position, b""))
        yield position, data


def _unpack(item: FileItem, data: bytes) -> bytes | BadImageError:
    """The bytes of a member of a zip from the bytes of its local header on."""
    if len(data) < ZIP_LOCAL_HEADER.size or data[:4] != b"PK\x03\x04":
        return BadImageError(Cause.CORRUPT, "no local header in the zip")
    fields = ZIP_LOCAL_HEADER.unpack_from(data)
    body = memoryview(data)[ZIP_LOCAL_HEADER.size + fields[-2] + fields[-1] :]
    if item.compression == STORED:
        content = bytes(body[: item.size])
    elif item.compression == DEFLATED:
        try:
            content = zlib.decompressobj(-15).decompress(body, item.size + 1)
        except zlib.error as error:
            return BadImageError(Cause.CORRUPT, f"zip: {error}")
    else:
        return BadImageError(Cause.CORRUPT, "encrypted, or compressed by another method than deflate")
    if len(content) != item.size or zlib.crc32(content) != item.crc:
        return BadImageError(Cause.CORRUPT, "the checksum in the zip does not match")
    return content
