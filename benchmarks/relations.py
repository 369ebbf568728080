"""``python -m benchmarks.relations speed|coverage|estimators``: figures of Somers' D as JSON lines, with controls.

Exit status 1 where a target is missed or a control has not moved.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from gem_ray.graph.relations import ESTIMATORS, relations_from_scores, relations_from_values

TARGET_S = 1.0
ATTRIBUTES, IMAGES = 40, 10_000
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Figures of Somers' D.")
    commands = parser.add_subparsers(dest="command", required=True)
    speed_of = commands.add_parser("speed", help="seconds for 40 attributes of 10,000 images on one core")
    speed_of.add_argument("--repeats", type=int, default=5)
    covers = commands.add_parser("coverage", help="how often 95 %% intervals cover the truth, by simulation")
    covers.add_argument("--trials", type=int, default=2_000)
    estimators = commands.add_parser("estimators", help="the four estimators with the shipped MLLM's answers")
    estimators.add_argument("--images", type=int, default=500, help="of one set")
    estimators.add_argument("--sets", type=int, default=3, help="disjoint sets of drawn faces")
    arguments = parser.parse_args()
    if arguments.command == "speed":
        lines = speed(arguments.repeats)
    elif arguments.command == "coverage":
        from benchmarks.coverage import coverage

        lines = coverage(arguments.trials)
    else:
        from benchmarks.estimators import estimators as compared

        lines = compared(arguments.images, arguments.sets)
    missed = []
    for line in lines:
        print(json.dumps(line), flush=True)
        missed += [] if line.get("met", True) else [line["name"]]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


def speed(repeats: int) -> Iterator[Line]:
    """CPU seconds of one thread: other work on the machine stretches the wall clock, not these."""
    rng = np.random.default_rng(0)
    probabilities = digit_distributions(rng, IMAGES)
    inflated = np.maximum(rng.normal(size=(IMAGES, ATTRIBUTES)), 0.0)
    gaps = probabilities.copy()
    gaps[rng.random((IMAGES, ATTRIBUTES)) < 0.01] = np.nan
    cases: dict[str, Callable[[], object]] = {
        estimator: partial(relations_from_scores, probabilities, estimator) for estimator in ESTIMATORS
    }
    cases["half of the values tied"] = lambda: relations_from_values(inflated)
    cases["expected_table, 1 % missing"] = lambda: relations_from_scores(gaps, "expected_table")
    cases["expectation, 1 % missing"] = lambda: relations_from_scores(gaps, "expectation")
    targets = {"expected_table", "most_likely", "rounded", "expectation"}
    with threadpool_limits(1):
        medians = {}
        for name, case in cases.items():
            seconds = cpu_seconds(case, repeats)
            medians[name] = statistics.median(seconds)
            line = {"name": name, "attributes": ATTRIBUTES, "images": IMAGES, "cpu_s": round(medians[name], 3)}
            line |= {"least": round(min(seconds), 3), "greatest": round(max(seconds), 3), "repeats": repeats}
            yield line | ({"target_s": TARGET_S, "met": medians[name] < TARGET_S} if name in targets else {})
        twice = np.concatenate([probabilities, probabilities])
        control = statistics.median(cpu_seconds(lambda: relations_from_scores(twice, "expected_table"), repeats))
        ratio = control / medians["expected_table"]
        yield {"name": "control: twice the images", "over_once": round(ratio, 2), "met": ratio > 1.5}


def cpu_seconds(action: Callable[[], object], repeats: int) -> list[float]:
    """Of each call after a first one that is thrown away."""
    action()
    seconds = []
    for _ in range(repeats):
        started = time.process_time()
        action()
        seconds.append(time.process_time() - started)
    return seconds


def digit_distributions(rng: np.random.Generator, num_images: int) -> np.ndarray:
    """[N, 40, 6] of related attributes, as a scorer that is not sure gives them."""
    latent = rng.normal(size=(num_images, 1)) + rng.normal(size=(num_images, ATTRIBUTES))
    logits = -((np.arange(6) - 2.5 - latent[..., None]) ** 2)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


if __name__ == "__main__":
    main()
