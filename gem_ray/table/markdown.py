"""``table.md``: for each data set the methods side by side, then what each differs in from the reference.

Everything here turns records into text; nothing is read or written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from gem_ray.evaluation.summary import duration
from gem_ray.table.metrics import MEANINGS, Metric, shown
from gem_ray.table.record import Record, values_by_seed
from gem_ray.table.statistics import Paired, Spread, best_of, paired, spread

NONE = "–"
WITHIN = "≈ "


@dataclass(frozen=True)
class Contents:
    """What a table says, in the order in which it says it.

    Args:
        budgets: by data set, in words: images, steps, latents
        missing: cells that are not in the table, and why
        command: that made it
    """

    records: tuple[Record, ...]
    methods: tuple[str, ...]
    experiments: tuple[str, ...]
    reference: str
    budgets: dict[str, str]
    missing: tuple[tuple[str, str], ...]
    command: str

    def of(self, experiment: str) -> list[Record]:
        """Records of one data set."""
        return [record for record in self.records if record.experiment == experiment]


def markdown(contents: Contents) -> str:
    """The whole page."""
    parts = ["# Table of results", _introduction(contents)]
    for experiment in contents.experiments:
        records = contents.of(experiment)
        parts += [f"## {experiment}", contents.budgets[experiment]]
        if not records:
            parts += ["No cell of this data set has ended."]
            continue
        metrics = shown([record.numbers for record in records])
        parts += [means_table(contents, experiment, group) for group in by_theme(metrics)]
        parts += [
            f"{' and '.join(names)} have the same options in this table, so their runs are the same."
            for names in twins(records)
        ]
        parts += [f"![Methods on {experiment}](figures/{experiment}.png)"]
        if contents.reference:
            parts += _differences(contents, experiment, metrics)
        parts += [_cost(contents, experiment)]
    if contents.missing:
        lines = [f"* {label}: {_one_line(cause)}" for label, cause in contents.missing]
        parts += ["## Not in the table", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _introduction(contents: Contents) -> str:
    seeds = sorted({record.seed for record in contents.records})
    networks = ", ".join(sorted({record.network for record in contents.records if record.network}))
    network = f" Perceptual and set distances are by the features of: {networks}." if networks else ""
    return (
        f"{plural(len(contents.records), 'run')}: {plural(len(contents.methods), 'method')}, "
        f"{plural(len(contents.experiments), 'data set')}, seeds {', '.join(map(str, seeds)) or 'none'}. Numbers are "
        "mean ± standard deviation over seeds. The best mean of a column is **bold**; "
        f"{WITHIN.strip()} marks means that are no further from it than the larger of the two deviations. ↑ more is "
        "better, ↓ less is.\n\n"
        f"{MEANINGS}{network}\n\n"
        f"```\n{contents.command}\n```\n\nEvery number of every run is in [cells.csv](cells.csv), every paired "
        "difference in [differences.csv](differences.csv)."
    )


def plural(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def twins(records: Sequence[Record]) -> list[tuple[str, ...]]:
    """Methods that do not differ in any option here: an ablation of what a table with shared scores leaves out."""
    names: dict[str, dict[str, None]] = {}
    for record in records:
        names.setdefault(record.options, {})[record.method] = None
    return [tuple(methods) for methods in names.values() if len(methods) > 1]


def by_theme(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """Metrics in groups that fit a page, in their order."""
    return [list(group) for _, group in itertools.groupby(metrics, key=lambda metric: metric.theme)]


def means_table(contents: Contents, experiment: str, metrics: Sequence[Metric]) -> str:
    """Methods down, metrics across."""
    records = contents.of(experiment)
    header = ["method", "n", *(metric.title for metric in metrics)]
    columns = {}
    for metric in metrics:
        spreads = {name: spread(values_by_seed(records, name, experiment, metric.key)) for name in contents.methods}
        columns[metric.key] = _marked(spreads, metric)
    rows = []
    for name in contents.methods:
        n = sum(record.method == name for record in records)
        rows.append([name, str(n), *(columns[metric.key][name] for metric in metrics)])
    return table(header, rows)


def _marked(spreads: dict[str, Spread], metric: Metric) -> dict[str, str]:
    words = {name: spread_words(value, metric.decimals) for name, value in spreads.items()}
    if metric.higher_is_better is None or sum(value.n > 0 for value in spreads.values()) < 2:
        return words
    best, within = best_of(spreads, metric.higher_is_better)
    return {
        name: f"**{text}**" if name == best else f"{WITHIN}{text}" if name in within else text
        for name, text in words.items()
    }


def _differences(contents: Contents, experiment: str, metrics: Sequence[Metric]) -> list[str]:
    scored = [metric for metric in metrics if metric.higher_is_better is not None]
    others = [name for name in contents.methods if name != contents.reference]
    if not others:
        return []
    tested = sum(difference(contents, experiment, name, metric).n > 1 for name in others for metric in scored)
    text = f"### Differences from {contents.reference}\n\nMethod minus {contents.reference}, paired by seed"
    if tested:
        text += (
            ": mean [95 % interval by Student's t] and, of the n pairs, how many have the sign of the mean. **Bold**: "
            f"0 lies outside. {plural(tested, 'comparison')}, not corrected for their number: were there no difference "
            f"at all, {tested * 0.05:.1f} of them would be bold by chance."
        )
    else:
        text += "; one pair has no interval, run more seeds."
    picture = f"![Differences from {contents.reference} on {experiment}](figures/{experiment}_differences.png)"
    return [text, *(differences_table(contents, experiment, group) for group in by_theme(scored)), picture]


def differences_table(contents: Contents, experiment: str, metrics: Sequence[Metric]) -> str:
    """Methods other than the reference down, metrics across."""
    rows = []
    for name in contents.methods:
        if name != contents.reference:
            found = [difference(contents, experiment, name, metric) for metric in metrics]
            rows.append([name, *(paired_words(one, metric.decimals) for one, metric in zip(found, metrics))])
    return table(["method", *(metric.title for metric in metrics)], rows)


def difference(contents: Contents, experiment: str, method: str, metric: Metric) -> Paired:
    """A method minus the reference in one metric on one data set."""
    ours = values_by_seed(contents.records, method, experiment, metric.key)
    return paired(ours, values_by_seed(contents.records, contents.reference, experiment, metric.key))


def _cost(contents: Contents, experiment: str) -> str:
    records = contents.of(experiment)
    places = sorted({record.hardware for record in records})
    seconds = [record.seconds for record in records]
    rates = [record.images_per_s for record in records]
    return (
        f"Training took {duration(sum(seconds))} in all on {'; '.join(places)}: {duration(min(seconds))} to "
        f"{duration(max(seconds))} a run, {min(rates):,.0f} to {max(rates):,.0f} images/s."
    )


def spread_words(value: Spread, decimals: int) -> str:
    """``.512 ± .013``; without the deviation of a single seed."""
    if not value.n:
        return NONE
    mean = number(value.mean, decimals)
    return mean if math.isnan(value.deviation) else f"{mean} ± {number(value.deviation, decimals)}"


def paired_words(value: Paired, decimals: int) -> str:
    """``+.031 [−.010, +.072] 2/3``, bold where 0 is left out."""
    if not value.n:
        return NONE
    mean, pairs = signed(value.mean, decimals), f"{value.same_sign}/{value.n}"
    if value.n == 1:
        return f"{mean}, n = 1"
    text = f"{mean} [{signed(value.low, decimals)}, {signed(value.high, decimals)}] {pairs}"
    return f"**{text}**" if value.is_clear else text


def number(value: float, decimals: int) -> str:
    """Without the 0 before the point, with a true minus sign; thousands apart."""
    text = f"{value:,.{decimals}f}"
    digits = text.lstrip("-")
    if not digits.strip("0.,"):
        text = digits  # no "minus nothing"
    if digits.startswith("0."):
        text = text.replace("0.", ".", 1)
    return text.replace("-", "−")


def signed(value: float, decimals: int) -> str:
    """``number`` with a plus sign before what is above 0."""
    text = number(value, decimals)
    return text if text.startswith("−") or not text.strip("0.,") else f"+{text}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it can be read as text; the first column is flush left, others right."""
    cells = [[_escaped(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) + " |"
        for row in cells
    ]
    rule = "|" + "|".join(":" + "-" * (w + 1) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _escaped(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
