"""Reading the rows of a table: what is known of every finished cell, from its run folder, and UDR over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gem_ray.errors import DataError
from gem_ray.evaluation.evaluation_facts import read_evaluation
from gem_ray.evaluation.history import read_history
from gem_ray.evaluation.scoring_of_codes import udr_of_runs
from gem_ray.storage import Storage
from gem_ray.table.cell_task import cell_storage, read_cell_note
from gem_ray.table.cells import Cell
from gem_ray.table.metrics import UDR, numbers_of
from gem_ray.table.record import Record


def read_record(cell: Cell) -> Record:
    """The row of a finished cell.

    Raises:
        DataError: the cell is not finished, or its files are damaged
    """
    run = cell_storage(cell)
    facts = read_evaluation(run)
    if facts is None:
        raise DataError(f"{run.uri} has no evaluation.json: run the same table again")
    batch_size = cell.config.data.batch_size
    seconds = read_history(run).training_s(batch_size)
    return Record(
        method=cell.method,
        experiment=cell.experiment,
        seed=cell.seed,
        numbers=numbers_of(facts),
        seconds=seconds,
        images_per_s=facts.step * batch_size / seconds if seconds else float("nan"),
        hardware=read_cell_note(run).hardware,
        options=cell.group,
        run=cell.config.run.name,
        network=(facts.distances.network if facts.distances else facts.reconstruction.perceptual_network) or "",
    )


def read_records(cells: Sequence[Cell]) -> list[Record]:
    """The rows of finished cells, with UDR where a method has two seeds or more on a data set."""
    records = [read_record(cell) for cell in cells]
    scores: dict[str, float] = {}
    for method, experiment in dict.fromkeys((cell.method, cell.experiment) for cell in cells):
        same = [cell for cell in cells if (cell.method, cell.experiment) == (method, experiment)]
        if len(same) > 1:
            config = same[0].config
            found = udr_of_runs(config, [cell_storage(cell) for cell in same], Storage(config.data.uri, config.storage))
            scores |= {cell.config.run.name: float(score) for cell, score in zip(same, found.scores)}
    return [_with_udr(record, scores.get(record.run)) for record in records]


def _with_udr(record: Record, score: float | None) -> Record:
    return record if score is None else replace(record, numbers=record.numbers | {UDR: score})
