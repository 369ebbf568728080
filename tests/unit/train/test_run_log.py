"""The run's log: appended, cut back on resume, torn lines passed over."""

import resource
import tempfile

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gem_ray.config import StorageConfig
from gem_ray.errors import StorageError
from gem_ray.evaluation.history import METRICS, read_metrics
from gem_ray.storage import Storage
from gem_ray.train.run_log import RunLog


def test_lines_of_steps_that_are_done_again_are_cut_off_on_resume(tmp_path):
    run = Storage(str(tmp_path), StorageConfig())
    log = RunLog(run, 0)
    for step in range(5):
        log.measure(step, {"total": float(step)})
    log.event('{"event": "graph", "step": 4, "version": 2}')
    log.close()
    resumed = RunLog(run, 3)
    resumed.measure(3, {"total": 30.0})
    resumed.close()
    assert [(line["step"], line["total"]) for line in read_metrics(run)] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_full_disk_at_a_restart_leaves_the_history_as_it_was(tmp_path):
    run = Storage(str(tmp_path), StorageConfig())
    log = RunLog(run, 0)
    for step in range(2_000):
        log.measure(step, {"rate": "of a step, in as many words as it takes"})
    log.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(StorageError, match=METRICS):
            RunLog(run, 2_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(read_metrics(run)) == 2_000


def test_a_torn_last_line_is_left_out(tmp_path):
    run = Storage(str(tmp_path), StorageConfig())
    run.write_bytes(METRICS, b'{"step": 0, "total": 1.0}\n{"step": 1, "tot')
    assert [line["step"] for line in read_metrics(run)] == [0]


def test_a_remote_run_brings_its_tensorboard_events_to_storage(tmp_path):
    run = Storage(f"memory://{tmp_path.name}/run", StorageConfig())
    log = RunLog(run, 0)
    log.measure(0, {"total": 1.0, "kl_nodes": [0.1], "discriminator": None})
    as_of_now = log.remote_files()
    log.measure(1, {"total": 0.5})
    assert as_of_now[METRICS].count(b"\n") == 1
    assert read_metrics(run) == []
    log.close()
    assert [line["step"] for line in read_metrics(run)] == [0, 1]
    assert any("tensorboard/events" in name for name in run.list())


def unreachable(*arguments, **options):
    raise PermissionError("not yours")


@pytest.mark.parametrize("reachable", [True, False])
def test_of_a_remote_run_nothing_stays_on_this_machine(tmp_path, monkeypatch, reachable):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log = RunLog(Storage(f"memory://{tmp_path.name}/run", StorageConfig(attempts=1)), 0)
    log.measure(0, {"total": 1.0})
    assert len(list(tmp_path.iterdir())) == 1
    if reachable:
        log.close()
    else:
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", unreachable)
        with pytest.raises(StorageError, match=METRICS):
            log.close()
    assert list(tmp_path.iterdir()) == []


def test_of_a_local_run_nothing_has_to_be_brought_anywhere(tmp_path):
    log = RunLog(Storage(str(tmp_path), StorageConfig()), 0)
    assert log.remote_files() == {}
    log.close()
