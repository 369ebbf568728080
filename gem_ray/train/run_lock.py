"""One run, one driver: two jobs with one name would write over each other's checkpoints.

A local folder is locked by the kernel (freed whenever the holder dies); remote storage holds a lease object that
the holder renews and others may take over once it has expired.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from gem_ray.errors import ConfigError, StorageError
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

log = logging.getLogger(__name__)
LOCK = "lock.json"
LEASE_S = 60.0


@contextmanager
def run_lock(run: Storage, lease_s: float = LEASE_S) -> Iterator[None]:
    """Hold the run's name while the body runs.

    Raises:
        ConfigError: another driver holds it; the message says which and what to do
    """
    with _local_lock(run) if run.is_local else _remote_lease(run, lease_s):
        yield


@dataclass(frozen=True)
class _Holder:
    token: str
    host: str
    pid: int
    time: float


def _holder(token: str) -> dict[str, object]:
    return asdict(_Holder(token, socket.gethostname(), os.getpid(), time.time()))


def _read_holder(run: Storage) -> _Holder:
    try:
        return typed(_Holder, parse_json(run.read_bytes(LOCK)))
    except ValueError as error:
        raise ConfigError(
            f"the lock {run.uri}/{LOCK} is damaged ({error}); make sure that nobody else trains this run, and delete it"
        ) from error


def _taken(run: Storage, holder: str, remedy: str) -> ConfigError:
    return ConfigError(f"the run {run.uri} is in use by {holder}; {remedy} or choose another run.name")


@contextmanager
def _local_lock(run: Storage) -> Iterator[None]:
    run.local_path.mkdir(parents=True, exist_ok=True)
    with (run.local_path / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _taken(run, file.read().strip() or "another process", "wait until it ends") from None
        file.truncate(0)
        file.write(json.dumps(_holder("")))
        file.flush()
        yield


def _taken_by(run: Storage, token: str) -> bool:
    created = run.create_bytes(LOCK, json.dumps(_holder(token)).encode())
    return created or _read_holder(run).token == token  # the lease was made, and only the answer was lost


@contextmanager
def _remote_lease(run: Storage, lease_s: float) -> Iterator[None]:
    token = uuid.uuid4().hex
    if not _taken_by(run, token):
        held = _read_holder(run)
        left = lease_s - (time.time() - held.time)
        if left > 0:
            raise _taken(run, f"{held.host} pid {held.pid}", f"wait ({left:.0f} s if that process has died)")
        run.delete(LOCK)
        if not _taken_by(run, token):
            raise _taken(run, "another process that was faster", "wait until it ends")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(lease_s / 4):
            try:
                run.write_bytes(LOCK, json.dumps(_holder(token)).encode())
            except StorageError as error:  # the next renewal may come in time
                log.warning("the lease of the run was not renewed: %s", error)

    thread = threading.Thread(target=renew, name="run-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=lease_s / 4)
        run.delete(LOCK)
