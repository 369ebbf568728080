"""Ratios as a Markdown table: each with its target, and with the control that shows it would notice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.timing import Ratio

HEAD = "| | | ratio | target | control |\n| --- | --- | --- | --- | --- |"


def markdown(ratios: Sequence[Ratio], machine: Mapping[str, object], loads: Mapping[str, float]) -> str:
    """One row a ratio; its control, named like it with ``_control`` behind, is a cell of the row.

    Args:
        loads: of the machine as each ratio was taken, by name
    """
    controls = {ratio.name.removesuffix("_control"): ratio for ratio in ratios if ratio.is_control}
    shown = [ratio for ratio in ratios if not ratio.is_control]
    names = {ratio.name for ratio in shown}
    rows = [_row(ratio, controls.get(ratio.name)) for ratio in shown]
    rows += [_row(control, None) for name, control in controls.items() if name not in names]
    return "\n".join([HEAD, *rows, "", _conditions(machine, loads)])


def _row(ratio: Ratio, control: Ratio | None) -> str:
    rates = f"{ratio.rate_a:,.4g} against {ratio.rate_b:,.4g} {ratio.unit}"
    figure = f"{ratio.median:.3g} ({ratio.least:.3g}-{ratio.greatest:.3g}), {rates}"
    wanted = "" if ratio.target is None else f"{ratio.target:g}{'' if ratio.met else ', missed'}"
    moved = "" if control is None else f"{control.median:.2g}{'' if control.met else ', has not moved'}"
    return f"| {ratio.name} | {ratio.what} | {figure} | {wanted} | {moved} |"


def _conditions(machine: Mapping[str, object], loads: Mapping[str, float]) -> str:
    least, greatest = (min(loads.values()), max(loads.values())) if loads else (0.0, 0.0)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['date']}; "
        f"load average {least:g} to {greatest:g}."
    )
