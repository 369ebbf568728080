"""Batches made in a thread while the step before them runs: gathering rows is copying, which needs no interpreter."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
END = object()


def ahead(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, up to ``depth`` of them made before they are asked for.

    Raises:
        what making an item raises, where that item is asked for
    """
    waiting: deque[Future[T | object]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        try:
            waiting.extend(maker.submit(next, items, END) for _ in range(depth))
            while (item := waiting.popleft().result()) is not END:
                waiting.append(maker.submit(next, items, END))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()
