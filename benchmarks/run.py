"""``python -m benchmarks.run [--repeats N] [--only NAME]``: ratios as JSON lines, with controls that must move."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from benchmarks.timing import MIN_REPEATS, Ratio


def main() -> None:
    """Print the lines; exit status 1 where a target is missed or a control has not moved."""
    parser = argparse.ArgumentParser(description="Ratios of two things timed in turn on this machine.")
    parser.add_argument("--repeats", type=int, default=9, help=f"counted pairs, at least {MIN_REPEATS}")
    parser.add_argument(
        "--only", choices=("precision", "propagation", "training", "store"), help="one group instead of all"
    )
    arguments = parser.parse_args()
    if arguments.repeats < MIN_REPEATS:
        parser.error(f"--repeats {arguments.repeats} is too few to quote a median: at least {MIN_REPEATS}")

    from benchmarks.core import precision, propagation

    # Ray and the data pipeline load only where they are timed.
    def training(repeats: int) -> Iterator[Ratio]:
        from benchmarks.training import training as measured

        return measured(repeats)

    def store(repeats: int) -> Iterator[Ratio]:
        from benchmarks.store import store as measured

        return measured(repeats)

    groups = {"precision": precision, "propagation": propagation, "training": training, "store": store}
    missed = []
    for name, group in groups.items():
        if arguments.only in (None, name):
            for line in group(arguments.repeats):
                print(line.to_json(), flush=True)
                missed += [] if line.met else [line.name]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
