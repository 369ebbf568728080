"""The rest of the chaos kit: plans, signals, kill points, limits, bombs and sockets do what they say."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from ray import cloudpickle

from kit.bombs import pickle_bombs
from kit.kill_points import killed_after, killed_at
from kit.limits import full_disk, run_with_memory
from kit.marks import MARK, end_marked, marked
from kit.plan import Action, ChaosPlan, Execution
from kit.processes import NotOursError, kill, stopped
from kit.rpc import lost_calls
from kit.sockets import free_port, listeners
from kit.waiting import wait_until
from kit.watching import Watch, watched

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture(scope="module", autouse=True)
def sent_by_value():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.fixture
def process():
    process = subprocess.Popen(SLEEPS)
    yield process
    process.kill()
    process.wait()


def test_a_plan_depends_on_its_seed_alone_and_survives_json():
    plan = ChaosPlan.drawn(3, ("kill", "stop"), every_s=2.0, count=20)
    assert plan == ChaosPlan.drawn(3, ("kill", "stop"), every_s=2.0, count=20)
    assert plan != ChaosPlan.drawn(4, ("kill", "stop"), every_s=2.0, count=20)
    assert ChaosPlan.from_json(plan.to_json()) == plan
    times = [action.at_s for action in plan.actions]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 42
    assert {action.kind for action in plan.actions} == {"kill", "stop"}


def test_a_plan_is_carried_out_at_its_times_and_leaves_a_list():
    plan = ChaosPlan(0, (Action(0.05, "a", 1), Action(0.1, "b", 2)))
    execution = Execution(plan, {"a": lambda number: number + 10, "b": lambda number: number + 20})
    execution.wait(10)
    assert [(action.kind, result) for action, _, result in execution.done] == [("a", 11), ("b", 22)]
    assert all(after >= action.at_s for action, after, _ in execution.done)


def test_what_fails_in_a_plan_fails_the_test_and_what_nobody_can_do_is_refused():
    plan = ChaosPlan(0, (Action(0.0, "a", 1), Action(0.0, "a", 2)))
    with pytest.raises(ValueError, match="how to do a"):
        Execution(plan, {})
    with pytest.raises(ZeroDivisionError):
        Execution(plan, {"a": lambda number: number // 0}).wait(10)
    late = Execution(ChaosPlan(0, (Action(60.0, "a", 1),)), {"a": print})
    late.stop()
    assert late.done == []


def test_a_killed_process_is_gone_when_the_call_returns(process):
    kill(process.pid)
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_stopped_process_goes_on_afterwards_also_when_the_body_fails(process):
    with suppress(KeyError), stopped(process.pid):
        assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
        raise KeyError
    end = time.monotonic() + 5
    while psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_of_somebody_else_is_not_touched():
    for pid in (1, os.getpid(), os.getppid()):
        with pytest.raises(NotOursError, match="was not started by"):
            kill(pid)


def write_three_files(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_text(name)


def test_a_kill_point_stands_before_every_file_operation(tmp_path):
    left = []
    for point in range(1, 5):
        folder = tmp_path / str(point)
        folder.mkdir()
        died = killed_at(point, lambda folder=folder: write_three_files(folder), below=str(tmp_path))
        left.append((died, sorted(path.name for path in folder.iterdir())))
    assert left == [(True, []), (True, ["a"]), (True, ["a", "b"]), (False, ["a", "b", "c"])]


def test_an_action_that_fails_by_itself_is_not_taken_for_killed(tmp_path):
    with pytest.raises(AssertionError, match="ended with status 1"):
        killed_at(9, lambda: [][1], below=str(tmp_path))


def test_a_kill_after_a_time_finds_an_action_that_still_runs():
    assert killed_after(0.05, lambda: time.sleep(30))


def test_a_full_disk_takes_what_fits_and_refuses_the_rest(tmp_path):
    with open(tmp_path / "file", "wb", buffering=0) as file:
        with full_disk(10):
            assert file.write(b"x" * 20) == 10
            with pytest.raises(OSError, match="too large") as refused:
                file.write(b"x")
        assert refused.value.errno == errno.EFBIG
        assert file.write(b"x") == 1


def test_a_program_cannot_have_more_memory_than_it_is_given():
    done = run_with_memory("print(len(bytearray(10**8)))", 2 * 10**9)
    assert (done.returncode, done.stdout.strip()) == (0, "100000000")
    assert "MemoryError" in run_with_memory("bytearray(3 * 10**9)", 2 * 10**9).stderr


def test_every_bomb_goes_off_where_pickles_are_loaded(tmp_path):
    mark = tmp_path / "mark"
    bombs = pickle_bombs(mark)
    for dress, content in bombs.items():
        path = tmp_path / "bomb"
        path.write_bytes(content)
        if dress in {"npy", "npz"}:
            loaded = np.load(path, allow_pickle=True)
            _ = loaded["images"] if dress == "npz" else loaded
        elif dress == "torch":
            torch.load(path, weights_only=False)
        else:
            pickle.loads(content)
        assert mark.exists(), dress
        mark.unlink()


def test_a_mark_finds_a_process_and_what_it_has_started_and_ends_both():
    mark, starts = uuid.uuid4().hex, f"import subprocess; subprocess.run({SLEEPS!r})"
    parent = subprocess.Popen([sys.executable, "-c", starts], env=os.environ | {MARK: mark})
    try:
        wait_until(lambda: len(marked(mark)) == 2, "it starts nothing", 30)
        assert end_marked(mark) == 2
        assert parent.wait(timeout=5) == -signal.SIGKILL
    finally:
        end_marked(mark)
    assert marked(mark) == []


def test_what_does_not_come_is_waited_for_no_longer_than_said_and_the_complaint_tells():
    assert wait_until(lambda: True, "never said", 0.0) < 1.0
    with pytest.raises(AssertionError, match=r"waited 0.2 s in vain: nothing"):
        wait_until(lambda: False, lambda: "nothing", 0.2)


def test_lost_calls_are_said_as_ray_wants_it():
    environment = lost_calls("CoreWorkerService.grpc_client.PushTask", "answer", 3)
    assert environment["RAY_testing_rpc_failure"] == (
        '{"CoreWorkerService.grpc_client.PushTask": {"num_failures": 3, "req_failure_prob": 0, '
        '"resp_failure_prob": 100, "in_flight_failure_prob": 0}}'
    )
    with pytest.raises(KeyError):
        lost_calls("x", "elsewhere", 1)


def test_a_listening_socket_is_found_with_its_process():
    with socket.create_server(("127.0.0.1", free_port())) as server:
        port = server.getsockname()[1]
        (found,) = [one for one in listeners() if one.port == port]
        assert (found.address, found.pid) == ("127.0.0.1", os.getpid())
    assert port not in {one.port for one in listeners()}


def watch_to_the_end(process: subprocess.Popen) -> None:
    with watched(process.pid, every_s=0.01):
        kill(process.pid)
        process.wait()
        end = time.monotonic() + 10
        while any(thread.name == "watch" for thread in threading.enumerate()):
            assert time.monotonic() < end, "it goes on looking"
            time.sleep(0.01)


def test_a_process_is_looked_at_as_long_as_it_lives_and_its_end_is_told(process):
    with watched(process.pid, every_s=0.01) as watch:
        end = time.monotonic() + 10
        while len(watch.samples) < 5:
            assert time.monotonic() < end
            time.sleep(0.01)
    with pytest.raises(RuntimeError, match=f"process {process.pid} ended while it was watched"):
        watch_to_the_end(process)


def test_growth_is_seen_and_a_single_jump_is_none():
    flat = Watch(0, [(float(s), 100_000_000 + 1000 * (s % 7), 20 + (s % 10 == 0)) for s in range(100)])
    assert abs(flat.megabytes_per_minute()) < 0.1
    assert flat.more_descriptors() == 0
    jump = Watch(0, [(float(s), 100_000_000 + 5_000_000 * (s > 90), 20) for s in range(100)])
    assert jump.megabytes_per_minute() < 0.1
    leak = Watch(0, [(float(s), 100_000_000 + 50_000 * s, 20 + s // 10) for s in range(100)])
    assert leak.megabytes_per_minute() == pytest.approx(3.0)
    assert leak.more_descriptors() >= 4
