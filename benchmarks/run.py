"""``python -m benchmarks.run [--repeats N] [--only NAME]``: ratios as JSON lines, with controls that must move."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.timing import Ratio, main_of


# Torch, Ray and the data pipeline load only where they are timed.
def precision(repeats: int) -> Iterator[Ratio]:
    from benchmarks.core import precision as measured

    return measured(repeats)


def propagation(repeats: int) -> Iterator[Ratio]:
    from benchmarks.core import propagation as measured

    return measured(repeats)


def training(repeats: int) -> Iterator[Ratio]:
    from benchmarks.training import training as measured

    return measured(repeats)


def store(repeats: int) -> Iterator[Ratio]:
    from benchmarks.store import store as measured

    return measured(repeats)


def watching(repeats: int) -> Iterator[Ratio]:
    from benchmarks.watching import watching as measured

    return measured(repeats)


GROUPS = {
    "precision": precision,
    "propagation": propagation,
    "training": training,
    "store": store,
    "watching": watching,
}

if __name__ == "__main__":
    main_of("Ratios of two things timed in turn on this machine.", GROUPS, 9)
