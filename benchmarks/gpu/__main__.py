"""``python -m benchmarks.gpu``: what a GPU makes of the training step, with the ceilings of that GPU beside it.

Plain torch: no Ray, no clients of storage; needs torch, numpy, torch_geometric, safetensors, pyarrow and fsspec. One
call of under 8 minutes. ``--device cpu --quick`` runs every line on a CPU, whose figures mean nothing. G8 (an MLLM) is
no part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

LINES = "gpu.jsonl"
PARTS = ("ingest", "gather", "forms", "roofline", "graph", "stalls")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print JSON lines, then a table; a missed target is said and is no failure, a broken part is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="The training step on one GPU.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and nothing compiled: for tests")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each figure, of which the median is shown")
    parser.add_argument("--budget-s", type=float, default=440.0, help="measure nothing further after so many seconds")
    parser.add_argument("--output", type=Path, help="folder for gpu.jsonl and gpu.md")
    chosen = parser.parse_args(arguments)

    import torch

    from benchmarks.gpu.ceilings import measure
    from benchmarks.gpu.figures import ALL, Figure, Setting

    started = time.monotonic()
    device, name = torch.device(chosen.device), "cpu"
    if device.type == "cuda":
        if not torch.cuda.is_available():
            sys.exit("no CUDA device is here; --device cpu --quick only shows that the script runs")
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)  # streams and graphs belong to the current one
        name = torch.cuda.get_device_name(device)
    setting, ceilings = Setting(device, chosen.repeats, chosen.quick), measure(device, chosen.quick)
    machine = {"device": name, "torch": torch.__version__, "quick": chosen.quick, **asdict(ceilings)}
    figures, complaints, out_of_time = list[Figure](), list[str](), list[str]()
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / LINES).unlink(missing_ok=True)
    put(machine, chosen.output)
    for part in chosen.only or PARTS:
        measured = ALL[part](setting, ceilings)
        try:
            # Each figure is made when it is asked for, so the budget is looked at before every one.
            while not (over := time.monotonic() - started > chosen.budget_s) and (figure := next(measured, None)):
                figures.append(figure)
                at_s = round(time.monotonic() - started, 1)
                put(asdict(figure) | {"met": figure.met, "at_s": at_s}, chosen.output)
            out_of_time += [part] * over
        except Exception as error:  # noqa: BLE001 the other parts are worth measuring: the device is here for minutes
            traceback.print_exc()
            complaints.append(f"failed: {part}: {error}")
    if out_of_time:
        complaints.append(f"no time was left for all of {', '.join(out_of_time)}; run them with --only")
    table = markdown(figures, machine)
    print(f"\n{table}", file=sys.stderr)
    if chosen.output:
        (chosen.output / "gpu.md").write_text(table + "\n")
    if complaints:
        sys.exit("\n".join(complaints))


def put(line: dict[str, object], folder: Path | None) -> None:
    """Print a line, and keep it as soon as it is there."""
    text = json.dumps(line)
    print(text, flush=True)
    if folder:
        with (folder / LINES).open("a") as file:
            file.write(text + "\n")


def markdown(figures: Sequence[object], machine: dict[str, object]) -> str:
    """A row a figure, and the ceilings."""
    rows = ["| | | value | target |", "| --- | --- | --- | --- |"]
    for figure in figures:
        f = {**asdict(figure), "met": figure.met}  # type: ignore[call-overload, attr-defined]
        wanted = (
            ""
            if f["target"] is None
            else f"{'at most ' if f['at_most'] else ''}{f['target']:g}{'' if f['met'] else ', missed'}"
        )
        rows.append(f"| {f['name']} | {f['what']} | {f['value']:,.4g} {f['unit']} | {wanted} |")
    copy, bf16, upload = (float(str(machine[name])) for name in ("copy", "bf16", "upload"))
    rows += [
        "",
        f"{machine['device']}, torch {machine['torch']}; in the same run: copy {copy / 1e12:.3g} TB/s, "
        f"bf16 product {bf16 / 1e12:.3g} TFLOP/s, pinned upload {upload / 1e9:.3g} GB/s.",
    ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
