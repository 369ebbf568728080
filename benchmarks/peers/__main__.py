"""``python -m benchmarks.peers``: images a second of a whole training step, ours against the trainers of others.

All contenders train the same network on the same images in memory, one thread each, and take turns: while one makes its
steps the others wait in their callbacks. Compared is processor time, so that it is images per second and core whatever
else the machine does; the clock's rates stand beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.command import line_of
from benchmarks.machine import load, machine
from benchmarks.timing import MIN_REPEATS, Ratio, ratio

FP32, BF16 = ("bare", "lightning", "disent", "pythae"), "lightning_bf16"
THEIRS = (*FP32, BF16)
OURS = ("fp32", "bf16", "compiled", "one_batch", "gem", "ray_train")
PACKAGE = {"bare": "torch", "lightning": "lightning", BF16: "lightning", "disent": "disent", "pythae": "pythae"}
OVER_FASTEST, OVER_OWN = 2.0, 0.97
START_S, SEGMENT_S = 400.0, 200.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the peers' environment where it is missing, measure, and print lines and tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Ours against other trainers.")
    parser.add_argument("--repeats", type=int, default=MIN_REPEATS, help=f"turns of each, at least {MIN_REPEATS}")
    parser.add_argument("--steps", type=int, default=6, help="training steps in one turn")
    parser.add_argument("--only", nargs="+", choices=[*THEIRS, *OURS], metavar="NAME", help="these contenders")
    parser.add_argument("--output", type=Path, help="folder for peers.jsonl and peers.md")
    chosen = parser.parse_args(arguments)
    if chosen.repeats < MIN_REPEATS:
        parser.error(f"--repeats {chosen.repeats} is too few to quote a median: at least {MIN_REPEATS}")

    from benchmarks.peers.environment import ensure_environment
    from benchmarks.peers.problem import BATCH

    absent = ensure_environment()
    names = [name for name in chosen.only or [*THEIRS, *OURS] if PACKAGE.get(name) not in absent]
    times, failed = taken_in_turn(names, chosen.repeats, chosen.steps)
    ratios = list(compared({name: cpu for name, (_, cpu) in times.items()}, chosen.steps * BATCH))
    lines = [json.dumps(machine())] + [line_of(found, load()) for found in ratios]
    table = markdown(times, chosen.steps * BATCH, ratios, {**absent, **failed})
    print("\n".join(lines), flush=True)
    print(f"\n{table}", file=sys.stderr)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / "peers.jsonl").write_text("\n".join(lines) + "\n")
        (chosen.output / "peers.md").write_text(table + "\n")


Times = dict[str, tuple[list[float], list[float]]]
"""By contender: seconds of each turn by the clock, and of processor time."""


def taken_in_turn(names: Sequence[str], repeats: int, steps: int) -> tuple[Times, dict[str, str]]:
    """Seconds of each contender, and those that did not come to their gate, with where their output is."""
    from benchmarks.peers.environment import PYTHON, ROOT
    from benchmarks.peers.gate import STOP, Keeper
    from benchmarks.peers.problem import DATA, write_data

    times: Times = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gem_ray-bench-")))
        write_data(place)
        keepers: dict[str, Keeper] = {}
        processes: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            folder = place / name
            folder.mkdir()
            (folder / DATA).hardlink_to(place / DATA)
            module, python = ("theirs", str(PYTHON)) if name in THEIRS else ("ours", sys.executable)
            log = stack.enter_context((folder / "output.log").open("wb"))
            keeper = Keeper(folder)
            command = [python, "-m", "benchmarks.peers.contender", module, name, str(folder), str(steps)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
            # One after the other: ten at once would fight for two cores and none would be ready in time.
            if keeper.wait(START_S) is None or process.poll() is not None:
                process.kill()
                failed[name] = (folder / "output.log").read_text().strip().splitlines()[-1][:300]
                continue
            keepers[name], processes[name], times[name] = keeper, process, ([], [])
            print(f"{name} is ready", file=sys.stderr, flush=True)
        for number in range(repeats):
            for name in list(keepers) if number % 2 else reversed(list(keepers)):
                keepers[name].let_through()
                segment = keepers[name].wait(SEGMENT_S)
                if segment is None:
                    sys.exit(f"{name} did not end its turn in {SEGMENT_S:.0f} s")
                times[name][0].append(segment.wall)
                times[name][1].append(segment.cpu)
        for name, keeper in keepers.items():
            keeper.let_through(STOP)
            end(processes[name])
            keeper.close()
    return times, failed


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a contender, and end it where it does not end by itself."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    if process.poll() is None:
        process.kill()
    process.wait()


def compared(cpu: dict[str, list[float]], images: int) -> list[Ratio]:
    """Ours over the fastest of theirs, and what the rest of our loop costs beside the bare step."""
    found = []
    theirs = {name: statistics.median(cpu[name]) for name in FP32 if name in cpu}
    if theirs:
        fastest = min(theirs, key=lambda name: theirs[name])
        for name in ("fp32", "bf16", "compiled", "ray_train"):
            if name in cpu:
                what = f"ours, {name}, over {fastest}, the fastest of theirs in fp32"
                target = OVER_FASTEST if name in ("ray_train", "compiled") else None
                times = (cpu[name], cpu[fastest])
                found.append(ratio(f"peers_{name}", what, times, images, "images/CPU s", target))
    if BF16 in cpu and "ray_train" in cpu:
        what = "ours, ray_train, over Lightning's trainer in bf16"
        found.append(ratio("peers_alike", what, (cpu["ray_train"], cpu[BF16]), images, "images/CPU s"))
    for name, what, target in (
        ("bf16", "our step on batches from memory over on one batch", OVER_OWN),
        ("ray_train", "our step under Ray Train with real ingest over on one batch", OVER_OWN),
        ("gem", "GEM with its graph over the VAE, ours both", None),
    ):
        if name in cpu and "one_batch" in cpu:
            found.append(ratio(f"own_{name}", what, (cpu[name], cpu["one_batch"]), images, "images/CPU s", target))
    return found


def markdown(times: Times, images: int, ratios: Sequence[Ratio], absent: dict[str, str]) -> str:
    """The rates, the ratios, and who could not take part."""
    rows = ["| | images per second of processor time | by the clock |", "| --- | --- | --- |"]
    for name, (wall, cpu) in times.items():
        rates = sorted(images / seconds for seconds in cpu)
        label = f"{'theirs' if name in THEIRS else 'ours'}: {name}"
        clock = images / statistics.median(wall)
        rows.append(f"| {label} | {statistics.median(rates):,.0f} ({rates[0]:,.0f}-{rates[-1]:,.0f}) | {clock:,.0f} |")
    rows += ["", "| | ratio | target |", "| --- | --- | --- |"]
    for found in ratios:
        wanted = "" if found.target is None else f"{found.target:g}{'' if found.met else ', missed'}"
        rows.append(f"| {found.what} | {found.median:.3g} ({found.least:.3g}-{found.greatest:.3g}) | {wanted} |")
    rows += [f"\nnot there: {name} ({reason})" for name, reason in absent.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
