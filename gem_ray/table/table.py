"""A table of results from beginning to end: data and scores once, then the cells, then what they amount to."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import ray
from rich.console import Console

from gem_ray.checkpoint import latest_step
from gem_ray.config import GemConfig
from gem_ray.data.manifest import has_manifest, read_manifest
from gem_ray.data.prepare import prepare
from gem_ray.errors import GemRayError, TrainingError
from gem_ray.evaluation.history import read_history
from gem_ray.storage import Storage
from gem_ray.table.cell_task import cell_storage, is_finished
from gem_ray.table.cells import Cell, check_equal_budget
from gem_ray.table.cells_csv import cells_csv, differences_csv
from gem_ray.table.charts import differences_chart, methods_chart
from gem_ray.table.cluster import CellTasks, local_cpus, local_parallel, parallel_cells
from gem_ray.table.markdown import Contents, markdown, plural
from gem_ray.table.records import read_records
from gem_ray.table.running import Failure, run_cells
from gem_ray.table.shared_scores import ScoresRun, make_scores
from gem_ray.train.ray_session import ray_session


def make_table(config: GemConfig, cells: Sequence[Cell], scores: Sequence[ScoresRun], command: Sequence[str]) -> None:
    """Run what is missing of a table, write it, and print where it is.

    Args:
        config: ``table`` and ``run.address`` are used
        scores: that cells share, made before them
        command: the arguments that asked for it, for the page

    Raises:
        ConfigError: cells that cannot be compared, or folders that hold other runs
        TrainingError: cells that failed, after all others have ended and the table is written
        KeyboardInterrupt: Ctrl-C; the same command goes on
    """
    check_equal_budget(cells)
    finished = [cell for cell in cells if is_finished(cell)]
    missing = [cell for cell in cells if cell not in finished]
    print(f"{plural(len(cells), 'cell')}, {len(finished)} of them finished: {config.table.output}", flush=True)
    failures: list[Failure] = []
    if missing:
        parallel = local_parallel(cells, config.table.parallel)
        with ray_session(config, local_cpus(cells, parallel)) as dashboard:
            wanted = parallel if dashboard else config.table.parallel
            failures = run_missing(missing, scores, wanted, len(finished), can_grow=dashboard is None)
    contents = write_table(config, cells, failures, command)
    folder = config.table.output
    print(
        f"{folder}/table.md, cells.csv and differences.csv: {len(contents.records)} of {len(cells)} cells", flush=True
    )
    if failures:
        causes = "\n".join(f"  {failure.cell.label}: {failure.cause}" for failure in failures)
        raise TrainingError(
            f"{len(failures)} of {len(cells)} cells failed; the same command tries them again:\n{causes}"
        )


def run_missing(
    missing: Sequence[Cell], scores: Sequence[ScoresRun], wanted: int, num_finished: int, can_grow: bool
) -> list[Failure]:
    """Data, scores, then the cells; needs a running Ray, and ``can_grow`` as in ``parallel_cells``."""
    blocked = make_ready(missing, scores)
    failures = [Failure(cell, blocked[cell.experiment]) for cell in missing if cell.experiment in blocked]
    ready = [cell for cell in missing if cell.experiment not in blocked]
    if ready:
        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        parallel = parallel_cells(ready, wanted, cpus, gpus, can_grow)
        print(f"running {plural(len(ready), 'cell')}, {parallel} at a time", flush=True)
        tasks = CellTasks()
        failures += run_cells(ready, tasks.run, steps_done, tasks.stop, parallel, num_finished)
    return failures


def make_ready(cells: Sequence[Cell], scores: Sequence[ScoresRun]) -> dict[str, str]:
    """Prepare every data set and its scores once; causes by data set where that failed, which stops no other."""
    blocked = {}
    for experiment in dict.fromkeys(cell.experiment for cell in cells):
        config = next(cell.config for cell in cells if cell.experiment == experiment)
        try:
            # Also where there are data: a cell's folder is named by these options, so they must be those of the data.
            print(f"{config.data.uri}: {prepare(config)}", flush=True)
            for one in scores:
                if one.experiment == experiment:
                    make_scores(one)
        except GemRayError as error:
            blocked[experiment] = f"{type(error).__name__}: {error}"
            Console().print(f"{experiment} cannot be run: {blocked[experiment]}", markup=False, soft_wrap=True)
    return blocked


def steps_done(cell: Cell) -> int:
    """Training steps of a cell so far, by its own log."""
    run = cell_storage(cell)
    measured = read_history(run).last("step")
    return int(measured) + 1 if measured >= 0 else latest_step(run) or 0


def write_table(
    config: GemConfig, cells: Sequence[Cell], failures: Sequence[Failure], command: Sequence[str]
) -> Contents:
    """Write CSV, Markdown and figures of all cells that are finished, and return what they say."""
    finished = [cell for cell in cells if is_finished(cell)]
    causes = {failure.cell.label: failure.cause for failure in failures}
    contents = Contents(
        records=tuple(read_records(finished)),
        methods=tuple(config.table.methods),
        experiments=tuple(config.table.experiments),
        reference=config.table.reference,
        budgets={cell.experiment: budget_words(cell.config) for cell in reversed(cells)},
        missing=tuple((cell.label, causes.get(cell.label, "not run")) for cell in cells if cell not in finished),
        command=shlex.join(["python", "-m", "jobs.table", *command]),
    )
    folder = Storage(config.table.output, config.storage)
    for experiment in contents.experiments:
        if contents.of(experiment):
            folder.write_bytes(f"figures/{experiment}.png", methods_chart(contents, experiment))
            if contents.reference and len(contents.methods) > 1:
                folder.write_bytes(f"figures/{experiment}_differences.png", differences_chart(contents, experiment))
    folder.write_bytes("cells.csv", cells_csv(contents.records).encode())
    folder.write_bytes("differences.csv", differences_csv(contents).encode())
    folder.write_bytes("table.md", markdown(contents).encode())
    return contents


def budget_words(config: GemConfig) -> str:
    """What every method had alike."""
    data, model, train = Storage(config.data.uri, config.storage), config.model, config.train
    images = ""
    if has_manifest(data):
        manifest = read_manifest(data)
        side = manifest.shape[0]
        images = f"{manifest.count:,} images of {side} x {side} from {manifest.source}, "
    named = model.num_nodes * model.node_dim
    return (
        f"{images}{config.data.holdout:,} held out; {train.steps:,} steps of {config.data.batch_size} images, learning "
        f"rate {train.learning_rate:g}; {named + model.residual_dim} latents, {named} of them named; network "
        f"{model.network}."
    )
