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
from dataclasses import asdict, dataclass, replace

from gem_ray.errors import ConfigError, StorageError, TrainingError
from gem_ray.interrupts import interrupt_main_thread, own_interrupts_heard
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed

log = logging.getLogger(__name__)
LOCK = "lock.json"
LEASE_S = 60.0


@contextmanager
def run_lock(run: Storage, lease_s: float = LEASE_S) -> Iterator[None]:
    """Hold the run's name while the body runs; for the main thread, since a lease that is lost interrupts that.

    Raises:
        ConfigError: another driver holds it; the message says which and what to do
        TrainingError: another driver has taken it over meanwhile; in the place of the body's KeyboardInterrupt, or
            behind the body
        StorageError: the lease can be neither taken nor given back
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


def _read_holder(run: Storage, name: str = LOCK) -> _Holder | None:
    try:
        return typed(_Holder, parse_json(run.read_bytes(name)))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"the lock {run.uri}/{name} is damaged ({error}); make sure that nobody else trains this run, and delete it"
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


def _taken_by(run: Storage, name: str, token: str) -> bool:
    if run.create_bytes(name, json.dumps(_holder(token)).encode()):
        return True
    holder = _read_holder(run, name)
    return holder is not None and holder.token == token  # it was made, and only the answer was lost


def _take(run: Storage, token: str, lease_s: float) -> None:
    if _taken_by(run, LOCK, token):
        return
    held = _read_holder(run)
    left = 0.0 if held is None else lease_s - (time.time() - held.time)
    if held is not None and left > 0:
        raise _taken(run, f"{held.host} pid {held.pid}", f"wait ({left:.0f} s if that process has died)")
    if held is None or not _taken_over(run, held, token, lease_s):
        raise _taken(run, "another process that was faster", "wait until it ends")


def _taken_over(run: Storage, expired: _Holder, token: str, lease_s: float) -> bool:
    """Put our lease in the place of an expired one, for which one of those who want to holds the claim."""
    claim = f"lock-{expired.token}.json"
    if not _taken_by(run, claim, token):
        other = _read_holder(run, claim)
        if other is None or time.time() - other.time < lease_s:
            return False
        run.delete(claim)  # who made it died before it had the lease
        if not _taken_by(run, claim, token):
            return False
    try:
        if _read_holder(run) != expired:  # taken over by who held the claim before, or renewed after all
            return False
        run.write_bytes(LOCK, json.dumps(_holder(token)).encode())
        return True
    finally:
        run.delete(claim)


@contextmanager
def _remote_lease(run: Storage, lease_s: float) -> Iterator[None]:
    token = uuid.uuid4().hex
    _take(run, token, lease_s)
    lease = _Lease(run, token, lease_s)
    try:
        with own_interrupts_heard(), lease.renewed():
            yield
    except KeyboardInterrupt:
        if lease.lost is None:
            raise
    finally:
        lease.give_back()
    if lease.lost is not None:
        raise lease.lost


class _Lease:
    """A lease that we took; ``lost`` says that it is no longer ours."""

    def __init__(self, run: Storage, token: str, lease_s: float) -> None:
        # Whatever fails is tried again at the next renewal; a longer try could write over another's lease.
        self._run = Storage(run.uri, replace(run.config, attempts=1))
        self._patient_run, self._token, self._lease_s = run, token, lease_s
        self._ended, self._lock = threading.Event(), threading.Lock()
        self.lost: TrainingError | None = None

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew it in a thread, which interrupts the main thread where it is lost."""
        thread = threading.Thread(target=self._renew, name="run-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._ended.set()
            thread.join()  # or it might write over the lease of the next driver

    def give_back(self) -> None:
        """Delete it where it is still ours."""
        self.lost = self.lost or self._loss(self._patient_run)
        if self.lost is None:
            self._patient_run.delete(LOCK)

    def _renew(self) -> None:
        while not self._ended.wait(self._lease_s / 4):
            try:
                lost = self._loss(self._run)
                if lost is None:
                    self._run.write_bytes(LOCK, json.dumps(_holder(self._token)).encode())
            except (StorageError, ConfigError) as error:  # the next renewal may come in time
                log.warning("the lease of the run was not renewed: %s", error)
                continue
            if lost is not None:
                with self._lock:
                    if not self._ended.is_set():
                        self.lost = lost
                        interrupt_main_thread()
                return

    def _loss(self, run: Storage) -> TrainingError | None:
        holder = _read_holder(run)
        if holder is None:
            return TrainingError(
                f"the lease {run.uri}/{LOCK} is gone: another driver took the run over and has ended, or somebody "
                "deleted it; make sure that nobody else trains this run, then give the same command again"
            )
        if holder.token != self._token:
            return TrainingError(
                f"{holder.host} pid {holder.pid} has taken over the run {run.uri}, whose lease was not renewed in "
                "time, so this driver ends; wait until that one does, or choose another run.name"
            )
        return None
