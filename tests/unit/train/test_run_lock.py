"""One run, one driver: locally and on remote storage."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import ConfigError
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


def test_a_remote_lease_is_refused_while_it_is_young_and_taken_over_when_it_has_expired(tmp_path):
    run = make_memory_run(tmp_path)
    lease = {"token": "other", "host": "elsewhere", "pid": 7, "time": time.time()}
    assert run.create_bytes(LOCK, json.dumps(lease).encode())
    with pytest.raises(ConfigError, match="elsewhere pid 7"):
        with run_lock(run, lease_s=60):
            pass
    run.write_bytes(LOCK, json.dumps(lease | {"time": time.time() - 61}).encode())
    with run_lock(run, lease_s=60):
        assert json.loads(run.read_bytes(LOCK))["pid"] == os.getpid()
    assert not run.exists(LOCK)


def test_a_remote_lease_is_renewed_while_it_is_held(tmp_path):
    run = make_memory_run(tmp_path)
    with run_lock(run, lease_s=0.4):
        first = json.loads(run.read_bytes(LOCK))["time"]
        time.sleep(0.35)
        assert json.loads(run.read_bytes(LOCK))["time"] > first
