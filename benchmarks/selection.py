"""``python -m benchmarks.selection``: questions it takes to know the relations, by policy, in worlds of known truth.

    images   attributes of images: until the mean absolute error of the graph is under the target
    judged   judgements of directed pairs, one by one: likewise
    looks    traversals of a model that trains: looks a checkpoint that hold the error under the target
    nano     as images, with the answers of the shipped MLLM about drawn faces

Prints a JSON line for each run and each summary, then a Markdown table; progress goes to stderr. Figures are ratios to
round-robin, seed by seed: geometric mean and 95 % t-interval. Exit status 1 where a target is missed or a control has
kept the advantage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy.stats import t as student

from benchmarks.asking import (
    IMAGE_ARMS,
    JUDGED_ARMS,
    LOOK_ARMS,
    Arm,
    looks_needed,
    questions_about_images,
    questions_about_pairs,
)
from benchmarks.worlds import FactorWorld, ImageWorld, JudgedWorld, ReplayedWorld, ask_nano

TARGET_ERROR = 0.05
TARGET_RATIO = 0.5
MOST_QUESTIONS = 3_000_000
WITH_TARGET = ("images", "looks")
FIRST_SEED = 100  # the weights of the signals were chosen on others
BASE = "round_robin"
ARMS: dict[str, tuple[Arm, ...]] = {"images": IMAGE_ARMS, "judged": JUDGED_ARMS, "looks": LOOK_ARMS, "nano": IMAGE_ARMS}

Needed = Callable[[Arm, int], "float | None"]
"""Questions an arm needs with a seed, None where the target was not reached"""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One arm over all seeds.

    Args:
        questions: median over the seeds (looks: a checkpoint); None where an arm did not reach the target
        ratio, low, high: to round-robin with the same seed: geometric mean and 95 % t-interval
        met: target met, or control moved; None where nothing was demanded
    """

    case: str
    num_attributes: int
    arm: str
    seeds: int
    questions: float | None
    ratio: float | None
    low: float | None
    high: float | None
    met: bool | None


def summarise(case: str, num_attributes: int, needed: dict[str, list[float | None]]) -> Iterator[Summary]:
    """Of all arms of one case."""
    base = needed[BASE]
    for arm, values in needed.items():
        both = [(value, other) for value, other in zip(values, base, strict=True) if value and other]
        whole = len(both) == len(values)
        ratio = low = high = None
        if whole:
            logs = np.log([value / other for value, other in both])
            ratio = float(np.exp(logs.mean()))
            if len(logs) > 1:
                half = student.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
                low, high = (float(np.exp(logs.mean() + sign * half)) for sign in (-1.0, 1.0))
        met = None
        if case in WITH_TARGET and arm == "value":
            met = whole and (high or ratio or np.inf) <= TARGET_RATIO
        elif case in WITH_TARGET and arm.startswith("control"):
            met = not whole or (low or ratio or 0.0) > TARGET_RATIO
        yield Summary(
            case=case,
            num_attributes=num_attributes,
            arm=arm,
            seeds=len(values),
            questions=float(np.median([value for value in values if value])) if whole else None,
            ratio=ratio,
            low=low,
            high=high,
            met=met,
        )


def measure(case: str, num_attributes: int, seeds: int, needed: Needed, say: Callable[[str], None]) -> list[Summary]:
    """Run every arm with every seed."""
    found: dict[str, list[float | None]] = {arm.name: [] for arm in ARMS[case]}
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        for arm in ARMS[case]:
            began = time.perf_counter()
            questions = needed(arm, seed)
            found[arm.name].append(questions)
            run = {"case": case, "num_attributes": num_attributes, "arm": arm.name, "seed": seed}
            print(json.dumps(run | {"questions": questions}), flush=True)
            say(f"{case}, n = {num_attributes}, seed {seed}, {arm.name}: {time.perf_counter() - began:.1f} s")
    return list(summarise(case, num_attributes, found))


def markdown(summaries: Sequence[Summary]) -> str:
    """A table of ratios with their intervals."""
    lines = ["| case | n | policy | questions (median) | of round-robin's (95 % interval) |", "|---|---|---|---|---|"]
    for s in summaries:
        questions = (
            "not reached"
            if s.questions is None
            else f"{s.questions:,.0f}"
            if s.questions >= 100
            else f"{s.questions:.1f}"
        )
        ratio = "" if s.ratio is None else f"{s.ratio:.3g}"
        interval = "" if s.low is None or s.high is None else f" ({s.low:.3g} to {s.high:.3g})"
        lines.append(f"| {s.case} | {s.num_attributes} | {s.arm} | {questions} | {ratio}{interval} |")
    return "\n".join(lines)


class Progress:
    """Lines on stderr with the time left, by the share of runs done."""

    def __init__(self, num_runs: int) -> None:
        self._num_runs, self._done, self._began = num_runs, 0, time.perf_counter()

    def __call__(self, line: str) -> None:
        """One run is done."""
        self._done += 1
        left = (time.perf_counter() - self._began) / self._done * (self._num_runs - self._done)
        print(f"[{self._done}/{self._num_runs}, ETA {left / 60:.0f} min] {line}", file=sys.stderr, flush=True)


def on_images(worlds: Callable[[int], ImageWorld], arm: Arm, seed: int) -> float | None:
    return questions_about_images(worlds(seed), arm, seed, TARGET_ERROR, MOST_QUESTIONS)


def on_judged(num_attributes: int, arm: Arm, seed: int) -> float | None:
    return questions_about_pairs(JudgedWorld(num_attributes, seed), arm, seed, TARGET_ERROR, MOST_QUESTIONS)


def on_looks(num_attributes: int, arm: Arm, seed: int) -> float | None:
    return looks_needed(num_attributes, arm, seed, TARGET_ERROR)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Questions needed, by policy.")
    parser.add_argument("--cases", nargs="+", choices=tuple(ARMS), default=["images", "judged", "looks"])
    parser.add_argument("--attributes", nargs="+", type=int, default=[20, 40], help="sizes of the simulated worlds")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--faces", type=int, default=1_500, help="faces that the nano model is asked about")
    arguments = parser.parse_args()

    sizes = {case: [6] if case == "nano" else arguments.attributes for case in arguments.cases}
    say = Progress(sum(arguments.seeds * len(ARMS[case]) * len(sizes[case]) for case in sizes))
    summaries: list[Summary] = []
    for case, attributes in sizes.items():
        if case == "nano":
            truth, answers = ask_nano(arguments.faces, partial(print, file=sys.stderr))
        for n in attributes:
            needed: dict[str, Needed] = {
                "images": partial(on_images, partial(FactorWorld, n)),
                "judged": partial(on_judged, n),
                "looks": partial(on_looks, n),
            }
            if case == "nano":
                needed["nano"] = partial(on_images, partial(ReplayedWorld, truth, answers))
            summaries += measure(case, n, arguments.seeds, needed[case], say)
            for summary in summaries[-len(ARMS[case]) :]:
                print(json.dumps(asdict(summary)), flush=True)
    print("\n" + markdown(summaries))
    missed = [f"{s.case} n={s.num_attributes} {s.arm}" for s in summaries if s.met is False]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
