"""``python -m benchmarks.gpu``: what a GPU makes of the training step, with the ceilings of that GPU beside it.

Plain torch: no Ray, no storage; needs torch, numpy and torch_geometric. One call of under 8 minutes. ``--device cpu
--quick`` runs every line on a CPU, whose figures mean nothing. G8 (an MLLM) is no part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

PARTS = ("ingest", "gather", "forms", "roofline", "graph", "stalls")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print JSON lines, then a table; a missed target is said and is no failure, a broken part is one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="The training step on one GPU.")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and nothing compiled: for tests")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--repeats", type=int, default=7, help="timings of each figure, of which the median is shown")
    parser.add_argument("--budget-s", type=float, default=440.0, help="begin no further part after so many seconds")
    parser.add_argument("--output", type=Path, help="folder for gpu.jsonl and gpu.md")
    chosen = parser.parse_args(arguments)

    import torch

    from benchmarks.gpu.ceilings import measure
    from benchmarks.gpu.figures import ALL, Figure, Setting

    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device is here; --device cpu --quick only shows that the script runs")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    started = time.monotonic()
    setting, ceilings = Setting(device, chosen.repeats, chosen.quick), measure(device, chosen.quick)
    machine = {"device": name, "torch": torch.__version__, "quick": chosen.quick, **asdict(ceilings)}
    lines, figures, left_out = [json.dumps(machine)], list[Figure](), list[str]()
    print(lines[0], flush=True)
    for part in chosen.only or PARTS:
        if time.monotonic() - started > chosen.budget_s:
            left_out.append(part)
            continue
        for figure in ALL[part](setting, ceilings):
            figures.append(figure)
            lines.append(json.dumps(asdict(figure) | {"met": figure.met, "at_s": round(time.monotonic() - started, 1)}))
            print(lines[-1], flush=True)
    table = markdown(figures, machine)
    print(f"\n{table}", file=sys.stderr)
    if chosen.output:
        chosen.output.mkdir(parents=True, exist_ok=True)
        (chosen.output / "gpu.jsonl").write_text("\n".join(lines) + "\n")
        (chosen.output / "gpu.md").write_text(table + "\n")
    if left_out:
        sys.exit(f"no time was left for {', '.join(left_out)}; run them with --only")


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
