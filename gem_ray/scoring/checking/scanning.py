"""A scan from beginning to end: the MLLM up, its questions asked with a bar to watch, and what the answers say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from ray import serve
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.graph.relations import Relations, relations_from_scores
from gem_ray.scoring.checking.rates import scan_rates
from gem_ray.scoring.checking.scan import FOLDER, PartDone, Scanned, scan
from gem_ray.scoring.rescoring.scores import ScoreTable
from gem_ray.scoring.serving.application import app_name, served_fingerprint, start_scorer, stop_scorer
from gem_ray.storage import Storage
from gem_ray.structured_log import say

SHOWN_RELATIONS = 20
UP = "RUNNING"
LOOK_EVERY_S = 1.0


def run_scan(config: GemConfig) -> Scanned:
    """Scan the data of ``data.uri`` and print what was found; needs a running Ray.

    Raises:
        GemRayError: see ``scan.scan`` and ``service.start_scorer``
    """
    if config.scoring.scorer != "vllm":
        raise ConfigError(f"scoring.scorer={config.scoring.scorer}: a scan asks the MLLM; leave it at vllm")
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    data = Storage(config.data.uri, config.storage)
    with scorer_for(config) as app, progress_bar() as bar:
        model = served_fingerprint(config.scoring, app)
        began = time.monotonic()
        task = bar.add_task("scanning", total=None, rate="")
        fresh = 0

        def progress(part: PartDone, done: int, total: int) -> None:
            nonlocal fresh
            if fresh == 0:  # parts of an earlier sitting must not look like speed
                bar.reset(task, total=total, completed=done - (part.stop - part.start))
            fresh += part.asked + part.stored
            rate = fresh / (time.monotonic() - began)
            bar.update(task, completed=done, total=total, rate=f"{rate:,.0f} questions/s")

        found = scan(config, run, data, app, model, progress)
        bar.update(task, completed=len(found.table.index), total=len(found.table.index))
    say_found(config, run, found)
    return found


@contextmanager
def scorer_for(config: GemConfig) -> Iterator[str]:
    """Name of the run's Serve application: the one that is there (a training may use it), else one for the body only.

    Raises:
        ScorerError: see ``application.start_scorer``, or the one that is there does not come up
    """
    name = app_name(config.run.name)
    if _there(name, config.scoring.start_timeout_s):
        yield name
        return
    try:
        yield start_scorer(config.scoring, config.run.name, role=config.placement.mllm)
    finally:
        stop_scorer(config.run.name)


def _there(name: str, patience_s: float) -> bool:
    """Whether there is an application, once it is up: one in another state is somebody's too, and not to be replaced.

    Raises:
        ScorerError: it is neither up nor gone after ``patience_s``
    """
    began, said = time.monotonic(), ""
    while (application := serve.status().applications.get(name)) is not None:
        state = str(application.status.value)
        if state == UP:
            return True
        if time.monotonic() - began > patience_s:
            raise ScorerError(
                f"the Serve application {name!r} is still {state} after scoring.start_timeout_s={patience_s:g} s "
                f"({application.message or 'no cause is given'}); scan again when it is {UP}, or, where no training "
                f"uses it any more, delete it with ray.serve.delete({name!r})"
            )
        if state != said:
            said = state
            say(f"waiting for the Serve application {name}, which is {state}")
        time.sleep(LOOK_EVERY_S)
    return False


def progress_bar() -> Progress:
    """A bar with count, rate and remaining time."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images, {task.fields[rate]}"),
        TimeRemainingColumn(),
    )


def say_found(config: GemConfig, run: Storage, found: Scanned) -> None:
    """Print the rates and the strongest relations."""
    table = found.table
    console = Console()
    console.print(
        f"{len(table.index):,} images: {found.asked:,} questions asked now, {found.stored:,} answers from the store; "
        f"scores in {run.uri}/{FOLDER}/{found.ref.uri}"
    )
    console.print(rates_table(table))
    relations = relations_from_scores(table.probabilities, config.scoring.estimator)
    console.print(relations_table(relations, table.attributes))


def rates_table(table: ScoreTable) -> Table:
    """Zero-scoring and failure rate and digit mass, one row an attribute."""
    rates = scan_rates(table.probabilities, table.asked)
    shown = Table(title="Answers", title_justify="left")
    for column in ("attribute", "mean score", "zero-scoring rate", "failure rate", "digit mass"):
        shown.add_column(column, justify="left" if column == "attribute" else "right")
    for j, name in enumerate(table.attributes):
        known = ~np.isnan(table.expectations[:, j])
        mean = f"{table.expectations[known, j].mean():.2f}" if known.any() else "?"
        shown.add_row(
            name, mean, f"{rates.zero[j]:.1%}", f"{rates.failure[j]:.2%}", f"{np.nanmean(table.digit_mass[:, j]):.4f}"
        )
    if rates.all_zero is not None and rates.all_failure is not None:
        mass = table.mean_digit_mass or 0.0
        shown.add_row("all", "", f"{rates.all_zero:.1%}", f"{rates.all_failure:.2%}", f"{mass:.4f}", style="bold")
    return shown


def relations_table(relations: Relations, attributes: tuple[str, ...]) -> Table:
    """The strongest pairs, both directions side by side, each with its standard error."""
    n = len(attributes)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    strength, error = relations.strength, relations.standard_error
    pairs.sort(key=lambda pair: -max(abs(strength[pair]), abs(strength[pair[::-1]])))
    shown = Table(title=f"The strongest {min(SHOWN_RELATIONS, len(pairs))} of {len(pairs)} pairs", title_justify="left")
    for column in ("A", "B", "A acts on B", "B acts on A"):
        shown.add_column(column, justify="left" if len(column) == 1 else "right")
    for i, j in pairs[:SHOWN_RELATIONS]:
        if not np.isfinite([error[i, j], error[j, i]]).any():
            continue
        shown.add_row(
            attributes[i],
            attributes[j],
            *(f"{strength[a, b]:+.3f} ± {error[a, b]:.3f}" for a, b in ((i, j), (j, i))),
        )
    return shown
