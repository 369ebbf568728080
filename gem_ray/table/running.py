"""Many cells, a few at a time: start them, watch them, keep the failures, end cleanly.

Knows no Ray: a cell is a function that is called in a thread and blocks until the cell has ended, wherever it runs.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gem_ray.evaluation.summary import duration
from gem_ray.table.cells import Cell

LOOK_EVERY_S = 2.0
SPEED_OVER_S = 900.0  # cells start and end in bursts: a shorter look back would make the ETA jump


@dataclass(frozen=True)
class Failure:
    """A cell that did not end well, and why."""

    cell: Cell
    cause: str


def run_cells(
    cells: Sequence[Cell],
    run_cell: Callable[[Cell], None],
    steps_done: Callable[[Cell], int],
    stop: Callable[[], None],
    parallel: int,
    num_finished: int = 0,
    console: Console | None = None,
    look_every_s: float = LOOK_EVERY_S,
) -> list[Failure]:
    """Run every cell, at most ``parallel`` at a time, in the order given; returns the failures.

    Args:
        run_cell: blocks until the cell has ended; what it raises is the cell's failure
        steps_done: training steps of a cell under way, for the progress bar
        stop: makes all ``run_cell`` under way return soon; called on Ctrl-C
        num_finished: cells of the table that were finished before
        console: where progress goes; None is the terminal

    Raises:
        KeyboardInterrupt: Ctrl-C, after ``stop`` and after all threads have ended
    """
    console = console or Console()
    waiting, failures = deque(cells), []
    running: dict[Future[None], tuple[Cell, float]] = {}
    with ThreadPoolExecutor(parallel, thread_name_prefix="cell") as pool, _bar(console) as bar:
        view = _View(bar, console, cells, num_finished, steps_done)
        try:
            while waiting or running:
                while waiting and len(running) < parallel:
                    cell = waiting.popleft()
                    running[pool.submit(run_cell, cell)] = (cell, time.monotonic())
                ended, _ = wait(running, timeout=look_every_s, return_when=FIRST_COMPLETED)
                for future in ended:
                    cell, began = running.pop(future)
                    failure = _failure(cell, future)
                    failures += [failure] if failure else []
                    view.ended(cell, failure, time.monotonic() - began)
                view.look([cell for cell, _ in running.values()])
        except KeyboardInterrupt:
            console.print("stopping the cells under way; a second Ctrl-C would leave them to end by themselves")
            stop()
            raise
    return failures


def _failure(cell: Cell, future: Future[None]) -> Failure | None:
    error = future.exception()
    return None if error is None else Failure(cell, cause_of(error))


def cause_of(error: BaseException) -> str:
    """One line: our own errors say it all, others also need their type."""
    from gem_ray.train.failures import own_error

    own = own_error([error])
    if own is not None:
        return f"{type(own).__name__}: {own}"
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else 'no message'}"


def _bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[cells]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[under_way]}"),
        console=console,
        speed_estimate_period=SPEED_OVER_S,
        refresh_per_second=2,
    )


class _View:
    """The progress bar: it counts training steps, since cells are too coarse for an ETA, and says cells."""

    def __init__(
        self,
        bar: Progress,
        console: Console,
        cells: Sequence[Cell],
        num_finished: int,
        steps_done: Callable[[Cell], int],
    ) -> None:
        self._bar, self._console, self._steps_done = bar, console, steps_done
        self._total, self._finished, self._failed = len(cells) + num_finished, num_finished, 0
        # Steps of an earlier sitting are neither work to do nor a sign of speed.
        self._start = {cell.config.run.name: steps_done(cell) for cell in cells}
        self._ended_steps = 0
        self._steps = sum(self._steps_of(cell) for cell in cells)
        self._began = time.monotonic()
        self._task = bar.add_task("table", total=self._steps, cells="", rate="", under_way="")
        self.look([])

    def _steps_of(self, cell: Cell) -> int:
        # One more than the steps to train, so that a cell that only lacks its evaluation is work as well.
        return max(0, cell.config.train.steps - self._start[cell.config.run.name]) + 1

    def ended(self, cell: Cell, failure: Failure | None, seconds: float) -> None:
        """Count a cell that has ended, and say so in a line that stays."""
        self._ended_steps += self._steps_of(cell)
        if failure is None:
            self._finished += 1
            words = f"{cell.label}: done in {duration(seconds)}"
        else:
            self._failed += 1
            words = f"{cell.label}: FAILED after {duration(seconds)}: {failure.cause}"
        ended = self._finished + self._failed
        if ended < self._total:  # a log file shows no bar
            spent = time.monotonic() - self._began
            words += f"; about {duration(spent * (self._steps / self._ended_steps - 1))} left"
        self._console.print(f"[{ended} of {self._total}] {words}", markup=False, highlight=False, soft_wrap=True)

    def look(self, running: Sequence[Cell]) -> None:
        """Show how far the cells under way are."""
        steps = {cell.label: self._steps_done(cell) for cell in running}
        progress = sum(max(0, steps[cell.label] - self._start[cell.config.run.name]) for cell in running)
        done = self._ended_steps + progress
        failed = f", {self._failed} failed" if self._failed else ""
        under_way = "  ".join(f"{cell.label} {steps[cell.label]:,}/{cell.config.train.steps:,}" for cell in running)
        self._bar.update(
            self._task,
            completed=done,
            cells=f"{self._finished} of {self._total} cells{failed}",
            rate=f"{done / max(time.monotonic() - self._began, 1e-9):,.1f} steps/s",
            under_way=under_way,
        )
