"""``python -m jobs.table``: methods x data sets x seeds, trained and evaluated alike, as one table."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gem_ray.config import GemConfig
from gem_ray.errors import ConfigError
from jobs.compose import load_config, run_job

if TYPE_CHECKING:
    from gem_ray.table.cells import Cell
    from gem_ray.table.shared_scores import ScoresRun

# For every cell unless the command line says otherwise: many small runs side by side, and scores in a minute each.
DEFAULTS = (
    "train.num_workers=1",
    "evaluate.num_train=3000",
    "evaluate.num_test=1500",
    "evaluate.codes=[before,after]",
    "evaluate.workers=1",
)
# What makes one cell differ from another.
OWN = ("method", "experiment", "train.seed", "run.name", "run.uri")
PURPOSE = (
    "Run methods x data sets x seeds and compare them: table.methods=[...] table.experiments=[...] table.seeds=[...].\n"
    "Every other option is of all cells alike. In place of their defaults below, cells have\n"
    f"{' '.join(DEFAULTS)}.\n"
    "Stopped or failed, the same command goes on: finished cells are known by their folders in table.output/runs."
)


def compose_cells(config: GemConfig, overrides: Sequence[str]) -> tuple[list[Cell], list[ScoresRun]]:
    """All cells of the table, seed by seed, and the runs that hold the scores they share.

    Raises:
        ConfigError: an unknown method or data set, or an override of what tells cells apart
    """
    from gem_ray.absolute_paths import with_absolute_paths
    from gem_ray.submission.entrypoint import below
    from gem_ray.table.cells import make_cell, with_absolute_output
    from gem_ray.table.shared_scores import share_scores

    for override in overrides:
        if override.partition("=")[0] in OWN:
            raise ConfigError(
                f"{override!r} cannot be set for a table, which gives every cell its own: use table.methods, "
                "table.experiments, table.seeds and table.output"
            )
    table = config.table
    composed: dict[tuple[str, str], GemConfig] = {}
    scores: dict[str, ScoresRun] = {}
    for method, experiment in itertools.product(table.methods, table.experiments):
        chosen = [f"method={method}", f"experiment={experiment}"]
        complete = load_config([*chosen, *DEFAULTS, *overrides])
        data = replace(complete.data, uri=below(table.data_root, complete.data.uri))
        complete = with_absolute_output(with_absolute_paths(replace(complete, data=data)))
        if table.share_scores:
            complete, run = share_scores(experiment, complete)
            scores |= {run.config.run.name: run} if run else {}
        composed[method, experiment] = complete
    cells = []
    # Seed by seed, so that a table that is looked at early has whole pairs.
    for seed, experiment, method in itertools.product(table.seeds, table.experiments, table.methods):
        config = composed[method, experiment]
        cells.append(make_cell(method, experiment, seed, replace(config, train=replace(config.train, seed=seed))))
    return cells, list(scores.values())


def main(config: GemConfig) -> None:
    """Compose the cells, run what is missing of them, write the table."""
    os.environ.setdefault("RAY_LOG_TO_DRIVER", "0")  # a progress bar above, the cells' own lines in Ray's logs
    from gem_ray.table.cells import with_absolute_output
    from gem_ray.table.table import make_table

    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    cells, scores = compose_cells(config, overrides)
    make_table(with_absolute_output(config), cells, scores, overrides)


if __name__ == "__main__":
    run_job("jobs.table", PURPOSE, main)
