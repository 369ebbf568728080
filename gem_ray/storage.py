"""One folder of object storage, local or remote, behind fsspec (s3fs for ``s3://``).

What the rest of the project needs of a store and no library gives in one place: writes that are complete or invisible,
a conditional create, retries above the client's own, and errors that name the location and the remedy.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlparse

import fsspec
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from gem_ray.config import StorageConfig
from gem_ray.errors import StorageError

T = TypeVar("T")
PERMANENT = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


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
        return fsspec.filesystem(
            "s3",
            anon=self.config.anonymous,
            client_kwargs={key: value for key, value in client.items() if value is not None},
            # Without this s3fs answers from a listing that other processes have made stale.
            use_listings_cache=False,
        )

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

    def read_bytes(self, name: str) -> bytes:
        """The whole object."""
        return self._attempt(f"read {name}", lambda: self.fs.cat_file(self.path(name)))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write the object whole or not at all, replacing an earlier one; local files are flushed to disk."""
        self._attempt(f"write {name}", lambda: self._put(name, data))

    def create_bytes(self, name: str, data: bytes) -> bool:
        """Write the object only where none exists (atomic among racing writers); False where one did."""
        try:
            self._attempt(f"create {name}", lambda: self._create(name, data))
        except FileExistsError:
            return False
        return True

    def exists(self, name: str) -> bool:
        """Whether the object exists."""
        return self._attempt(f"look for {name}", lambda: self.fs.exists(self.path(name)))

    def list(self, prefix: str = "") -> list[str]:
        """Names of all objects below ``prefix`` (a folder), sorted; empty where there is no such folder."""
        top = self.path(prefix) if prefix else self.root
        found = self._attempt(f"list {prefix or 'it'}", lambda: self.fs.find(top))
        return sorted(path[len(self.root) + 1 :] for path in found if path.startswith(self.root + "/"))

    def delete(self, name: str) -> None:
        """Remove one object or one folder with all in it; nothing happens where there is none."""
        path = self.path(name)
        if self.exists(name):
            self._attempt(f"delete {name}", lambda: self.fs.rm(path, recursive=True))

    def _put(self, name: str, data: bytes) -> None:
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data)
            return
        self._with_temporary(name, data, lambda temporary, target: os.replace(temporary, target))

    def _create(self, name: str, data: bytes) -> None:
        if not self.is_local:
            self.fs.pipe_file(self.path(name), data, mode="create")
            return
        # A hard link fails where the target exists, so a reader never sees a half-written winner.
        self._with_temporary(name, data, lambda temporary, target: os.link(temporary, target))

    def _with_temporary(self, name: str, data: bytes, publish: Callable[[str, Path], None]) -> None:
        target = Path(self.path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".tmp-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            publish(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _attempt(self, what: str, action: Callable[[], T]) -> T:
        for attempt in range(1, self.config.attempts + 1):
            try:
                return action()
            except FileNotFoundError:
                raise
            except FileExistsError:
                raise
            except NoCredentialsError as error:
                raise StorageError(
                    f"cannot {what} in {self.uri}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "give the machine a role, or set storage.anonymous=true for a public bucket"
                ) from error
            except (OSError, BotoCoreError, ClientError) as error:
                last = attempt == self.config.attempts or isinstance(error, PERMANENT) or self.is_local
                if last:
                    raise StorageError(
                        f"cannot {what} in {self.uri} (try {attempt} of {self.config.attempts}, endpoint "
                        f"{self.config.endpoint_url or 'default'}): {type(error).__name__}: {error}; "
                        "check the location, the permissions and that the server is up"
                    ) from error
                time.sleep(min(8.0, 0.2 * 2**attempt) * random.uniform(0.5, 1.0))
        raise AssertionError("unreachable")
