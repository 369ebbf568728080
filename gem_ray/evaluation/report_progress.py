"""The bar of a report that is being written: a few parts, whose shares of the time are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gem_ray.structured_log import is_json

SHARES = {"measuring the model": 42, "moving its nodes": 3, "drawing figures": 44, "drawing films": 11}
"""Percent, as measured of drawn faces of side 64 on two cores: 8.1, .6, 8.4 and 2.0 s."""


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
