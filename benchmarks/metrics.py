"""``python -m benchmarks.metrics [--classes 3,6,40,32,32]``: seconds of each disentanglement metric, as JSON lines.

10,000 train and 5,000 test points of 10 codes that mix the factors a little. Time is that of DCI, which goes with the
number of classes: the control is DCI on two classes per factor, which must take less than half as long. Exit status 1
where the whole set takes more than 3 minutes, or the control has not moved.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from gem_ray.evaluation.disentanglement.dci import dci
from gem_ray.evaluation.disentanglement.scores import METRICS, Effort, Split, score_all

NUM_TRAIN, NUM_TEST, NUM_CODES = 10_000, 5_000, 10
SHAPES3D = (10, 10, 10, 8, 4, 15)
TARGET_S = 180.0
CONTROL_SHARE = 0.5


def main() -> None:
    """Print a line per metric, one for all, and the control."""
    parser = argparse.ArgumentParser(description="Time of the disentanglement metrics on this machine.")
    parser.add_argument("--classes", default=",".join(map(str, SHAPES3D)), help="classes of each factor; Shapes3D's")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads")
    parser.add_argument("--seed", type=int, default=0, help="of the points and of the metrics")
    arguments = parser.parse_args()
    classes = [int(number) for number in arguments.classes.split(",")]
    split = mixed_split(classes, arguments.seed)

    totals = [0.0, 0.0]
    seconds_of = {}
    for name in METRICS:
        wall, cpu = timed(partial(score_all, split, Effort(arguments.seed, arguments.workers), only=[name]))
        seconds_of[name] = cpu
        totals = [totals[0] + wall, totals[1] + cpu]
        report(name, classes, arguments.workers, wall, cpu)
    met = totals[0] <= TARGET_S
    report("all", classes, arguments.workers, *totals, target_s=TARGET_S, met=met)

    binary = mixed_split([2] * len(classes), arguments.seed)
    wall, cpu = timed(lambda: dci(*binary.arrays, seed=arguments.seed, workers=arguments.workers))
    moved = cpu <= CONTROL_SHARE * seconds_of["dci"]
    report("dci_control", [2] * len(classes), arguments.workers, wall, cpu, expect=CONTROL_SHARE, met=moved)
    if not met or not moved:
        sys.exit(f"missed: {'all' if not met else 'dci_control'}")


def mixed_split(classes: list[int], seed: int) -> Split:
    """Independent factors; each code one of them with a tenth of another and noise, or noise alone."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(classes, size=(NUM_TRAIN + NUM_TEST, len(classes)))
    values = (factors - factors.mean(axis=0)) / factors.std(axis=0)
    codes = rng.normal(size=(len(factors), NUM_CODES))
    known = min(len(classes), NUM_CODES)
    mixed = values + 0.1 * np.roll(values, 1, axis=1)
    codes[:, :known] = 0.1 * codes[:, :known] + mixed[:, :known]
    return Split(
        codes=codes[:NUM_TRAIN],
        factors=factors[:NUM_TRAIN],
        test_codes=codes[NUM_TRAIN:],
        test_factors=factors[NUM_TRAIN:],
    )


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of one call; the second is what a loaded machine does not change much."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def report(name: str, classes: list[int], workers: int, wall: float, cpu: float, **more: float | bool) -> None:
    """Print one JSON line."""
    line = {
        "name": name,
        "seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "classes": classes,
        "points": [NUM_TRAIN, NUM_TEST],
        "codes": NUM_CODES,
        "workers": workers,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(line | more), flush=True)


if __name__ == "__main__":
    main()
