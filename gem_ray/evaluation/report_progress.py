"""The bar of a report that is being written: a few parts, whose shares of the time are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gem_ray.structured_log import is_json

SHARES = {"measuring the model": 40, "moving its nodes": 20, "drawing figures": 30, "drawing films": 10}
"""Percent, of the default run on two cores."""


@contextmanager
def report_progress() -> Iterator[Callable[[str], AbstractContextManager[None]]]:
    """Show a bar for the length of the body, which wraps each part of ``SHARES`` in what this gives."""
    bar = Progress(
        TextColumn("report: {task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=is_json()),  # where lines are for a program a bar is none of them
    )
    with bar:
        task = bar.add_task("", total=sum(SHARES.values()))

        @contextmanager
        def part(name: str) -> Iterator[None]:
            bar.update(task, description=name)
            yield
            bar.advance(task, SHARES[name])

        yield part
        bar.update(task, description="done")
