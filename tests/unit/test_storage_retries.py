"""Faults of storage: what is tried again, for how long, and what is said in the end."""

from __future__ import annotations

import pytest
from botocore.exceptions import FlexibleChecksumError, NoCredentialsError

from gem_ray.config import StorageConfig
from gem_ray.errors import ConfigError, StorageError
from gem_ray.storage import Storage


def test_faults_of_remote_storage_are_tried_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    storage, faults = (
        Storage("memory://faults", StorageConfig(attempts=4)),
        iter([OSError("503"), TimeoutError("slow")]),
    )

    def flaky() -> str:
        for fault in faults:
            raise fault
        return "answer"

    assert storage.attempt("ask", flaky) == "answer"


def test_after_the_last_try_the_error_names_place_tries_and_cause(monkeypatch, recorded):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    storage, tries = Storage("memory://faults", StorageConfig(attempts=3)), []

    def broken() -> None:
        tries.append(1)
        raise OSError("503 SlowDown")

    with pytest.raises(StorageError, match=r"cannot ask in memory://faults \(try 3 of 3.*OSError: 503 SlowDown; check"):
        storage.attempt("ask", broken)
    assert len(tries) == 3
    asked = {"operation": "ask"}
    assert recorded == [("gem_storage_retries", 1.0, asked)] * 2 + [("gem_storage_failures", 1.0, asked)]


def test_no_try_begins_after_the_patience(monkeypatch):
    tries, sleeps = [], []
    monkeypatch.setattr("time.sleep", sleeps.append)
    storage = Storage("memory://silent", StorageConfig(attempts=50, patience_s=0.0))

    def silent() -> None:
        tries.append(1)
        raise TimeoutError("nothing came")

    with pytest.raises(StorageError, match=r"try 1 of 50.*nothing came"):
        storage.attempt("ask", silent)
    assert (len(tries), sleeps) == (1, [])


def test_bytes_that_came_damaged_are_asked_for_at_once_and_a_busy_server_after_a_pause(monkeypatch):
    sleeps: list[float] = []
    monkeypatch.setattr("time.sleep", sleeps.append)
    damaged = FlexibleChecksumError(error_msg="Expected checksum A66AtQ== did not match calculated checksum: dcSzvQ==")
    faults = iter([damaged, OSError("503 SlowDown")])

    def flaky() -> str:
        for fault in faults:
            raise fault
        return "answer"

    assert Storage("memory://faults", StorageConfig(attempts=4)).attempt("ask", flaky) == "answer"
    assert sleeps[0] == 0.0
    assert sleeps[1] > 0.3


def test_errors_that_will_not_pass_are_not_tried_again():
    storage, tries = Storage("memory://faults", StorageConfig(attempts=3)), []

    def forbidden() -> None:
        tries.append(1)
        raise PermissionError("Forbidden")

    with pytest.raises(StorageError, match=r"try 1 of 3.*Forbidden"):
        storage.attempt("ask", forbidden)
    assert len(tries) == 1


def test_missing_credentials_come_with_the_remedy():
    def ask() -> None:
        raise NoCredentialsError

    with pytest.raises(StorageError, match=r"no credentials; set AWS_ACCESS_KEY_ID .* storage\.anonymous=true"):
        Storage("memory://x", StorageConfig()).attempt("ask", ask)


def test_no_tries_at_all_is_not_a_setting():
    with pytest.raises(ConfigError, match=r"storage\.attempts=0"):
        StorageConfig(attempts=0)
