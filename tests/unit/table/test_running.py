"""Running many cells, with functions in place of training."""

from __future__ import annotations

import _thread
import io
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from gem_ray.config import GemConfig
from gem_ray.errors import DataError
from gem_ray.table.cells import Cell, make_cell
from gem_ray.table.running import cause_of, run_cells


def cells(number: int) -> list[Cell]:
    return [make_cell("vae", "faces", seed, GemConfig()) for seed in range(number)]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_every_cell_runs_once_and_never_more_at_a_time_than_allowed():
    ran, under_way, most, lock = [], [0], [0], threading.Lock()

    def run(cell: Cell) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        time.sleep(0.01)
        with lock:
            under_way[0] -= 1
            ran.append(cell.seed)

    assert run_cells(cells(9), run, lambda cell: 0, lambda: None, 3, console=quiet()) == []
    assert sorted(ran) == list(range(9))
    assert most[0] == 3


def test_a_failed_cell_is_reported_with_its_cause_and_the_others_go_on():
    ran = []

    def run(cell: Cell) -> None:
        if cell.seed == 1:
            raise DataError("no images at data.uri=there: run jobs.prepare")
        ran.append(cell.seed)

    console = quiet()
    failures = run_cells(cells(4), run, lambda cell: 0, lambda: None, 2, console=console)
    assert ran == [0, 2, 3]
    assert [(one.cell.seed, one.cause) for one in failures] == [
        (1, "DataError: no images at data.uri=there: run jobs.prepare")
    ]
    text = console.file.getvalue()
    assert "faces vae seed 1: FAILED" in text
    assert "[4 of 4]" in text
    left = [line for line in text.splitlines() if "left" in line]
    assert len(left) == 3, "the last has nothing left to wait for"


def test_progress_counts_finished_cells_and_the_steps_of_those_under_way():
    steps, go_on = {0: 0}, threading.Event()

    def run(cell: Cell) -> None:
        steps[0] = cell.config.train.steps // 2
        go_on.wait(5)

    console = Console(file=io.StringIO(), width=250, force_terminal=True)
    threading.Timer(1.0, go_on.set).start()
    run_cells(cells(1), run, lambda cell: steps[0], lambda: None, 1, 3, console, look_every_s=0.05)
    text = console.file.getvalue()
    assert "3 of 4 cells" in text
    assert "1,750/3,500" in text
    assert " 50%" in text
    assert "[4 of 4] faces vae seed 0: done" in text


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Tests that a shell has started in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_stops_the_cells_under_way_and_starts_no_other(ctrl_c_interrupts):
    stopped, started = threading.Event(), []

    def run(cell: Cell) -> None:
        started.append(cell.seed)
        if len(started) == 2:
            _thread.interrupt_main()
        stopped.wait(20)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_cells(cells(5), run, lambda cell: 0, stopped.set, 2, console=quiet(), look_every_s=0.05)
    assert sorted(started) == [0, 1]
    assert time.monotonic() - began < 10


def test_a_cause_is_our_own_error_where_there_is_one_else_the_last_line_with_its_type():
    wrapped = RuntimeError("worker failed")
    wrapped.__cause__ = DataError("the shard is damaged")
    assert cause_of(wrapped) == "DataError: the shard is damaged"
    assert cause_of(ValueError("first\nlast")) == "ValueError: last"
    assert cause_of(ValueError()) == "ValueError: no message"
