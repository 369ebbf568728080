"""One run, one driver: locally and on remote storage."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import ConfigError, TrainingError
from gem_ray.storage import Storage
from gem_ray.train.run_lock import LOCK, run_lock

HOLD = """
import sys, time
from gem_ray.config import StorageConfig
from gem_ray.storage import Storage
from gem_ray.train.run_lock import run_lock
with run_lock(Storage(sys.argv[1], StorageConfig())):
    print("held", flush=True)
    time.sleep(60)
"""


def make_memory_run(tmp_path):
    return Storage(f"memory://{tmp_path.name}/run", StorageConfig())


def test_a_second_driver_of_the_same_run_is_refused_by_name(tmp_path):
    run = Storage(str(tmp_path / "run"), StorageConfig())
    with run_lock(run), pytest.raises(ConfigError, match=rf"in use by .*{os.getpid()}.*choose another run.name"):
        with run_lock(run):
            pass


def test_the_name_is_free_again_after_the_holder_was_killed(tmp_path):
    run = Storage(str(tmp_path / "run"), StorageConfig())
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run.uri], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ConfigError, match=str(holder.pid)):
        with run_lock(run):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lock(run):
        pass


def put_lease(run, name=LOCK, age_s=0.0, token="other"):
    lease = {"token": token, "host": "elsewhere", "pid": 7, "time": time.time() - age_s}
    run.write_bytes(name, json.dumps(lease).encode())


def token_in(run):
    return json.loads(run.read_bytes(LOCK))["token"]


def test_a_remote_lease_is_refused_while_it_is_young_and_taken_over_when_it_has_expired(tmp_path):
    run = make_memory_run(tmp_path)
    put_lease(run)
    with pytest.raises(ConfigError, match="elsewhere pid 7"):
        with run_lock(run, lease_s=60):
            pass
    put_lease(run, age_s=61)
    with run_lock(run, lease_s=60):
        assert json.loads(run.read_bytes(LOCK))["pid"] == os.getpid()
    assert run.list() == []


def test_a_remote_lease_is_renewed_while_it_is_held(tmp_path):
    run = make_memory_run(tmp_path)
    with run_lock(run, lease_s=0.4):
        first, end = json.loads(run.read_bytes(LOCK))["time"], time.monotonic() + 10
        while (renewed := json.loads(run.read_bytes(LOCK))["time"]) == first and time.monotonic() < end:
            time.sleep(0.02)
        assert renewed > first


def hold(run, lease_s, meanwhile, body_s=30.0):
    """A driver, and what others do to its lease meanwhile."""
    with run_lock(run, lease_s=lease_s):
        meanwhile()
        time.sleep(body_s)


def test_a_driver_whose_lease_was_taken_over_is_interrupted_and_leaves_the_others_lease(tmp_path):
    run = make_memory_run(tmp_path)
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"elsewhere pid 7 has taken over .*choose another run\.name"):
        hold(run, 0.8, lambda: put_lease(run))
    assert time.monotonic() - began < 10
    assert token_in(run) == "other"


def test_it_is_interrupted_also_where_ctrl_c_is_ignored(tmp_path):
    run = make_memory_run(tmp_path)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    began = time.monotonic()
    try:
        with pytest.raises(TrainingError, match="elsewhere"):
            hold(run, 0.8, lambda: put_lease(run))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 10


def test_a_driver_that_ends_before_it_hears_of_the_takeover_fails_all_the_same(tmp_path):
    run = make_memory_run(tmp_path)
    with pytest.raises(TrainingError, match="elsewhere pid 7"):
        hold(run, 60, lambda: put_lease(run), body_s=0)
    assert token_in(run) == "other"


def test_an_error_of_a_driver_whose_lease_was_taken_over_stays_what_it_was(tmp_path):
    run = make_memory_run(tmp_path)
    with pytest.raises(ZeroDivisionError):
        hold(run, 60, lambda: put_lease(run) or 1 / 0)
    assert token_in(run) == "other"


def test_a_lease_that_is_gone_ends_the_run_since_another_driver_may_have_come_and_gone(tmp_path):
    run = make_memory_run(tmp_path)
    with pytest.raises(TrainingError, match=r"lock\.json is gone"):
        hold(run, 0.8, lambda: run.delete(LOCK))
    assert not run.exists(LOCK)


def test_ctrl_c_stays_ctrl_c_and_gives_the_lease_back(tmp_path):
    run = make_memory_run(tmp_path)
    with pytest.raises(KeyboardInterrupt), run_lock(run):
        raise KeyboardInterrupt
    assert run.list() == []


def test_a_driver_that_saw_an_expired_lease_before_another_took_it_over_does_not_take_that_ones(tmp_path, monkeypatch):
    run = make_memory_run(tmp_path)
    put_lease(run, age_s=61)
    with ExitStack() as faster:
        waiting = [lambda: faster.enter_context(run_lock(run, lease_s=60))]
        create, delete = Storage.create_bytes, Storage.delete

        def overtaken(change):
            def changed(storage, name, *rest):
                looked = name != LOCK or change is delete
                if looked and waiting:
                    waiting.pop()()
                return change(storage, name, *rest)

            return changed

        monkeypatch.setattr(Storage, "create_bytes", overtaken(create))
        monkeypatch.setattr(Storage, "delete", overtaken(delete))
        with pytest.raises(ConfigError, match="another process that was faster"):
            with run_lock(run, lease_s=60):
                pytest.fail("two drivers hold one run")
        assert not waiting, "nobody was faster"
    assert run.list() == []


def test_a_driver_that_died_while_it_took_a_lease_over_keeps_others_out_for_no_longer_than_a_lease(tmp_path):
    run = make_memory_run(tmp_path)
    put_lease(run, age_s=90)
    put_lease(run, "lock-other.json", age_s=30, token="died")
    with pytest.raises(ConfigError, match="another process that was faster"):
        with run_lock(run, lease_s=60):
            pass
    put_lease(run, "lock-other.json", age_s=61, token="died")
    with run_lock(run, lease_s=60):
        assert run.list() == [LOCK]
