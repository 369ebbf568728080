"""One folder of object storage, local or remote, behind fsspec (s3fs for ``s3://``).

What the rest of the project needs of a store and no library gives in one place: writes that are complete or invisible,
a conditional create, retries above the client's own, and errors that name the location and the remedy.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlparse

import fsspec

from gem_ray import telemetry
from gem_ray.config import StorageConfig
from gem_ray.errors import StorageError
from gem_ray.storage_retries import PERMANENT, with_retries

T = TypeVar("T")
TEMPORARY = ".tmp-"
CLIENT_TRIES = 2
"""Of s3fs, which nests them: four requests in one read. Its five would wait for a silent server for hours."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes [start, stop) of one object."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Storage:
    """A folder given as a URI. Names inside it are relative and use forward slashes; it pickles by value.

    Raises:
        StorageError: from every method, where the location cannot be reached; ``FileNotFoundError`` stays itself
    """

    uri: str
    config: StorageConfig

    @cached_property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The fsspec filesystem (s3fs, local, or any other protocol that fsspec knows)."""
        protocol = urlparse(self.uri).scheme if "://" in self.uri else "file"
        if protocol != "s3":
            return fsspec.filesystem(protocol)
        client = {"endpoint_url": self.config.endpoint_url, "region_name": self.config.region}
        silence_s = self.config.timeout_s
        filesystem = fsspec.filesystem(
            "s3",
            anon=self.config.anonymous,
            client_kwargs={key: value for key, value in client.items() if value is not None},
            # s3fs and ``attempt`` try again; a third layer below them would multiply the time of all.
            config_kwargs={
                "connect_timeout": min(10.0, silence_s),
                "read_timeout": silence_s,
                "retries": {"total_max_attempts": 1},
            },
            # Without this s3fs answers from a listing that other processes have made stale.
            use_listings_cache=False,
        )
        filesystem.retries = CLIENT_TRIES
        return filesystem

    @cached_property
    def root(self) -> str:
        """Path of the folder inside the filesystem, without a trailing slash."""
        path = self.fs._strip_protocol(self.uri)
        return (os.path.abspath(path) if self.is_local else path).rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the folder lies on this machine's file system."""
        return "://" not in self.uri or self.uri.startswith("file://")

    @property
    def local_path(self) -> Path:
        """The folder as a path; only where ``is_local``."""
        if not self.is_local:
            raise StorageError(f"{self.uri} is not a local folder")
        return Path(self.root)

    def path(self, name: str) -> str:
        """Full path of ``name`` inside the filesystem; refuses names that leave the folder."""
        parts = name.split("/")
        if name.startswith("/") or "\\" in name or "\0" in name or any(part in {"", ".", ".."} for part in parts):
            raise StorageError(f"{name!r} is not a name inside {self.uri}: it must be relative and without '..'")
        return f"{self.root}/{name}"

    def child(self, name: str) -> Storage:
        """The folder ``name`` inside this one."""
        self.path(name)
        return Storage(f"{self.uri.rstrip('/')}/{name}", self.config)

    def __reduce__(self) -> tuple[type[Storage], tuple[str, StorageConfig]]:
        return Storage, (self.uri, self.config)  # without ``fs``, whose settings do not travel with it

    def read_bytes(self, name: str, is_whole: Callable[[bytes], bool] | None = None) -> bytes:
        """The whole object.

        Args:
            is_whole: by it the caller knows bytes that are what was written. Where it does not, remote storage is read
                again, since the way to it can damage them too, ``storage.attempts`` times in all; bytes that are
                refused to the last are given as they are, for the caller to say what is wrong with them
        """
        left = 1 if self.is_local else self.config.attempts
        while True:
            data, left = self.attempt(f"read {name}", lambda: self.fs.cat_file(self.path(name))), left - 1
            if is_whole is None or is_whole(data) or not left:
                return data
            telemetry.add_count("gem_storage_retries", 1, operation="check")

    def read_hashed(self, name: str, sha256: str) -> tuple[bytes, str]:
        """``read_bytes`` of an object whose hash is known, and the hash that they have, for the caller to compare."""
        found: list[str] = []

        def is_whole(data: bytes) -> bool:
            found.append(hashlib.sha256(data).hexdigest())
            return found[-1] == sha256

        return self.read_bytes(name, is_whole), found[-1]

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes]:
        """Many parts of objects in one go (at the same time, where the store can); a try reads what others missed."""
        found: dict[int, bytes] = {}

        def read_missing() -> None:
            missing = [position for position in range(len(ranges)) if position not in found]
            parts = [ranges[position] for position in missing]
            answers = self.fs.cat_ranges(
                [self.path(part.name) for part in parts],
                [part.start for part in parts],
                [part.stop for part in parts],
                on_error="return",
            )
            faults: list[BaseException] = []
            for position, part, answer in zip(missing, parts, answers, strict=True):
                if isinstance(answer, BaseException):
                    faults.append(answer)
                elif len(answer) != part.stop - part.start:
                    faults.append(OSError(f"{part.name} gave {len(answer)} bytes of {part.stop - part.start}"))
                else:
                    found[position] = answer
            if faults:
                raise min(faults, key=lambda fault: not isinstance(fault, PERMANENT))

        whole = f"{ranges[0].name} and {len(ranges) - 1} more" if len(ranges) > 1 else ranges[0].name if ranges else ""
        if ranges:
            self.attempt(f"read {whole}", read_missing)
        return [found[position] for position in range(len(ranges))]

    def sizes(self) -> dict[str, int]:
        """Size in bytes of every object in the folder by its name, sorted; empty where there is no such folder."""
        found = self.attempt("list it", lambda: self.fs.find(self.root, detail=True))
        inside = {path[len(self.root) + 1 :]: info for path, info in found.items() if path.startswith(self.root + "/")}
        return {name: int(inside[name]["size"]) for name in sorted(inside) if not _is_temporary(name)}

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write the object whole or not at all, replacing an earlier one; local files are flushed to disk."""
        self.attempt(f"write {name}", lambda: self._put(name, data))

    def create_bytes(self, name: str, data: bytes, private: bool = False) -> bool:
        """Write the object only where none exists (atomic among racing writers); False where one did.

        Args:
            private: let only this user read a local file; who reads an object of a bucket is the bucket's to say
        """
        try:
            self.attempt(f"create {name}", lambda: self._create(name, data, private))
        except FileExistsError:
            return False
        return True

    def exists(self, name: str) -> bool:
        """Whether the object exists."""
        return self.attempt(f"look for {name}", lambda: self.fs.exists(self.path(name)))

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders in a folder, sorted, also those in which there is no whole object."""
        if not self.exists(prefix):
            return []
        found = self.attempt(f"list {prefix}", lambda: self.fs.ls(self.path(prefix), detail=True))
        return sorted(entry["name"][len(self.root) + 1 :] for entry in found if entry["type"] == "directory")

    def list(self, prefix: str = "") -> list[str]:
        """Names of all objects below ``prefix`` (a folder), sorted; empty where there is no such folder."""
        top = self.path(prefix) if prefix else self.root
        found = self.attempt(f"list {prefix or 'it'}", lambda: self.fs.find(top))
        names = (path[len(self.root) + 1 :] for path in found if path.startswith(self.root + "/"))
        return sorted(name for name in names if not _is_temporary(name))

    def delete(self, name: str) -> None:
        """Remove one object or one folder with all in it; nothing happens where there is none."""
        path = self.path(name)
        if self.exists(name):
            self.attempt(f"delete {name}", lambda: self.fs.rm(path, recursive=True))

    def _put(self, name: str, data: bytes) -> None:
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data)
            return
        self._with_temporary(name, data, lambda temporary, target: os.replace(temporary, target))

    def _create(self, name: str, data: bytes, private: bool) -> None:
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data, mode="create")
            return
        # A hard link fails where the target exists, so a reader never sees a half-written winner.
        self._with_temporary(name, data, lambda temporary, target: os.link(temporary, target), private)

    def _with_temporary(
        self, name: str, data: bytes, publish: Callable[[Path, Path], None], private: bool = False
    ) -> None:
        target = Path(self.path(name))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            # Not to be taken for "the object exists already".
            raise NotADirectoryError(f"{error.filename} is a file, not a folder") from error
        temporary = target.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:
                if private:
                    os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def attempt(self, what: str, action: Callable[[], T]) -> T:
        """Run an action on ``fs``, again after faults that may pass; ``FileNotFoundError`` is left to the caller.

        No try begins later than ``storage.patience_s`` after the first.

        Args:
            what: for the message, as in "cannot ... in s3://bucket/folder"; its first word is a label of metrics
        """
        return with_retries(what, action, self.uri, self.config, self.is_local)


def _is_temporary(name: str) -> bool:
    return name.rsplit("/", 1)[-1].startswith(TEMPORARY)
