"""The command line of the benchmarks: JSON lines on stdout as they come, a table on stderr, and a status."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from benchmarks.baselines import compared, read_baselines, write_baselines
from benchmarks.machine import load, machine
from benchmarks.progress import Progress
from benchmarks.table import markdown
from benchmarks.timing import MIN_REPEATS, Ratio

Measure = Callable[[int], Iterator[Ratio]]


@dataclass(frozen=True)
class Group:
    """Ratios that are measured together.

    Args:
        place: ``module:function``, imported where it is measured: torch, Ray and vLLM load only then
        about_s: seconds with ``MIN_REPEATS`` pairs on two idle cores
        what: in a few words, for ``--help``
    """

    place: str
    about_s: float
    what: str

    def measure(self, repeats: int) -> Iterator[Ratio]:
        """Import and measure."""
        module, _, function = self.place.partition(":")
        measured: Measure = getattr(import_module(module), function)
        return measured(repeats)


def parser_of(description: str, groups: Mapping[str, Group]) -> argparse.ArgumentParser:
    """The options of every benchmark."""
    listed = "\n".join(f"  {name:<12} {group.what}" for name, group in groups.items())
    parser = argparse.ArgumentParser(
        description=description, epilog=f"groups:\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=tuple(groups), metavar="GROUP", help="these groups instead of all")
    parser.add_argument(
        "--repeats", type=int, default=MIN_REPEATS, help=f"counted pairs of each ratio, at least {MIN_REPEATS}"
    )
    parser.add_argument("--output", type=Path, help="folder for ratios.jsonl and ratios.md beside what is printed")
    parser.add_argument("--check", action="store_true", help="fail on a regression against benchmarks/baselines.json")
    parser.add_argument(
        "--write-baselines", action="store_true", help="put these ratios into benchmarks/baselines.json"
    )
    return parser


def main_of(description: str, groups: Mapping[str, Group], arguments: Sequence[str] | None = None) -> None:
    """Measure the chosen groups and print what came out.

    Exit status 1 where a benchmark failed or its control has not moved; also where a target was missed, or, with
    ``--check``, instead where a ratio has regressed.
    """
    parser = parser_of(description, groups)
    chosen = parser.parse_args(arguments)
    if chosen.repeats < MIN_REPEATS:
        parser.error(f"--repeats {chosen.repeats} is too few to quote a median: at least {MIN_REPEATS}")
    names = [name for name in groups if chosen.only is None or name in chosen.only]
    ratios, loads, failed = measured(groups, names, chosen.repeats)
    table = markdown(ratios, machine(), loads)
    print(f"\n{table}", file=sys.stderr)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        lines = [line_of(ratio, loads[ratio.name]) for ratio in ratios]
        (chosen.output / "ratios.jsonl").write_text("\n".join([json.dumps(machine()), *lines]) + "\n")
        (chosen.output / "ratios.md").write_text(table + "\n")
    if chosen.write_baselines:
        write_baselines(ratios, machine())
    complaints = [f"failed: {name}" for name in failed]
    complaints += [f"its control has not moved: {ratio.name}" for ratio in ratios if ratio.is_control and not ratio.met]
    if chosen.check:
        verdicts = compared(ratios, read_baselines())
        for verdict in verdicts:
            print(f"{verdict.state:<9} {verdict.name}: {verdict.words}", file=sys.stderr)
        complaints += [f"regressed: {verdict.name}" for verdict in verdicts if verdict.state == "regressed"]
    else:
        complaints += [f"missed: {ratio.name}" for ratio in ratios if not ratio.is_control and not ratio.met]
    if complaints:
        sys.exit("\n".join(complaints))


def measured(
    groups: Mapping[str, Group], names: Sequence[str], repeats: int
) -> tuple[list[Ratio], dict[str, float], list[str]]:
    """All ratios in their order, the load as each was taken, and the groups that failed.

    A group that fails is reported and the others go on: a run takes half an hour.
    """
    ratios: list[Ratio] = []
    loads: dict[str, float] = {}
    failed = []
    progress = Progress({name: groups[name].about_s * repeats / MIN_REPEATS for name in names})
    print(json.dumps(machine()), flush=True)
    for name in names:
        progress.begin(name)
        try:
            for ratio in groups[name].measure(repeats):
                ratios.append(ratio)
                loads[ratio.name] = load()
                print(line_of(ratio, loads[ratio.name]), flush=True)
        except Exception:  # noqa: BLE001 whatever a benchmark raises, the others are still worth measuring
            traceback.print_exc()
            failed.append(name)
    return ratios, loads, failed


def line_of(ratio: Ratio, load_average: float) -> str:
    """A ratio as it is printed."""
    return json.dumps(asdict(ratio) | {"met": ratio.met, "load": load_average})
