"""The work of ``jobs.scan``: the MLLM's scores of a whole prepared data set, by Ray Data, part by part.

    shards -> pieces of records -> actors that ask the Serve deployment -> scan/part_*.parquet -> one table of scores

A part is written when all its questions have ended, so a scan that was killed goes on after its last parts; answers of
a part that was not finished are in the run's store of answers. Training takes those answers too, but not the table,
which may hold images that are kept for evaluation.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from gem_ray.config import GemConfig
from gem_ray.data.manifest import Manifest, read_manifest
from gem_ray.data.order import missing_pieces
from gem_ray.data.ray_manners import quiet_ray_data, raising_own_errors, well_behaved
from gem_ray.data.reading import pieces_dataset
from gem_ray.data.shards import pixels_of
from gem_ray.errors import DataError, ScorerError
from gem_ray.messages.graph import ScoresRef
from gem_ray.parquet_bytes import read_table
from gem_ray.scoring.asking.asker import Asker, ModelChanged
from gem_ray.scoring.asking.patience import with_patience
from gem_ray.scoring.asking.prompts import NUM_DIGITS, validate_attributes
from gem_ray.scoring.rescoring.scores import ScoreTable, write_scores
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.storage import Storage

FOLDER = "scan"
REPLACING_S = 300.0  # longer than Serve needs to replace a replica
Progress = Callable[["PartDone", int, int], None]


@dataclass(frozen=True)
class Plan:
    """What is scanned: which records, and who is asked how. ``key`` tells the parts of different plans apart."""

    manifest: Manifest
    attributes: tuple[str, ...]
    model: str
    protocol: str
    stop: int

    @property
    def key(self) -> str:
        """Hash of all that an answer depends on; how many images are wanted is no part of it."""
        shards = [shard.sha256 for shard in self.manifest.shards]
        said = json.dumps([shards, self.attributes, self.model, self.protocol])
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def part_name(self, start: int, stop: int) -> str:
        """Name of the part of records [start, stop)."""
        return f"{FOLDER}/part_{self.key}_{start:09d}_{stop:09d}.parquet"


@dataclass(frozen=True)
class PartDone:
    """One part: records [start, stop), and what of its answers was asked, failed, or taken from the store."""

    start: int
    stop: int
    asked: int
    failed: int
    stored: int


@dataclass(frozen=True)
class Scanned:
    """A finished scan: its table, where it is kept (in the run's ``scan`` folder), by whom, what this sitting asked."""

    table: ScoreTable
    ref: ScoresRef
    model: str
    asked: int
    stored: int


def scan(config: GemConfig, run: Storage, data: Storage, app: str, model: str, progress: Progress) -> Scanned:
    """Score the first ``scan.images`` records of the data; needs a running Ray and the application ``app``.

    Args:
        model: fingerprint of the MLLM behind ``app``
        progress: called after each part, with records done and in all

    Raises:
        DataError: no prepared data, damaged shards or parts
        ScorerError: the MLLM was silent for too long, or changed; finished parts are kept
    """
    plan = make_plan(config, run, data, app, model)
    missing = missing_pieces(plan.manifest.starts.tolist(), find_parts(run, plan), plan.stop, config.scan.part_images)
    asked = stored = 0
    finished = plan.stop - sum(len(piece) for piece in missing)
    if missing:
        worker = {"config": config, "run": run, "plan": plan, "app": app}
        outcomes = well_behaved(
            pieces_dataset(data, plan.manifest, missing).map_batches(
                ScanWorker,
                fn_constructor_kwargs=worker,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=config.scan.workers),
                num_cpus=0,  # it waits for answers; the replica reserves what it needs
            )
        )
        with quiet_ray_data(), raising_own_errors():
            for row in outcomes.iter_rows():
                part = PartDone(**row)
                asked, stored, finished = asked + part.asked, stored + part.stored, finished + part.stop - part.start
                progress(part, finished, plan.stop)
    table = read_parts(run, plan)
    ref = write_scores(run.child(FOLDER), table, plan.model, plan.protocol)
    return Scanned(table, ref, plan.model, asked, stored)


def make_plan(config: GemConfig, run: Storage, data: Storage, app: str, model: str) -> Plan:
    """What the options ask for."""
    manifest = read_manifest(data)
    wanted = config.scan.images or manifest.count
    attributes = validate_attributes(config.model.attributes)
    protocol = build_asker(config, run, attributes, app, model).protocol
    return Plan(manifest, attributes, model, protocol, min(wanted, manifest.count))


def build_asker(config: GemConfig, run: Storage, attributes: tuple[str, ...], app: str, model: str) -> Asker:
    """Who asks the application ``app`` in the name of the run."""
    scorer = ServeScorer(app, config.scoring.deadline_s)
    return Asker(config.scoring, run, attributes, scorer, model)


def find_parts(run: Storage, plan: Plan) -> list[tuple[int, int]]:
    """[start, stop) of the finished parts of a plan."""
    prefix = f"{FOLDER}/part_{plan.key}_"
    names = [name for name in run.list(FOLDER) if name.startswith(prefix)]
    bounds = [name.removeprefix(prefix).removesuffix(".parquet").split("_") for name in names]
    return [(int(start), int(stop)) for start, stop in bounds]


class ScanWorker:
    """The actor that asks: blocks of records in, parts in storage and a row about each out."""

    def __init__(self, config: GemConfig, run: Storage, plan: Plan, app: str) -> None:
        self._run, self._plan, self._deadline_s = run, plan, config.scoring.deadline_s
        self._asker = build_asker(config, run, plan.attributes, app, plan.model)
        self._loop = asyncio.Runner()  # one loop for all blocks: the asker's locks belong to it

    def __call__(self, block: pa.Table) -> pa.Table:
        """Ask about a block of neighbouring records, and write its part."""
        if block.num_rows == 0:
            return pa.Table.from_pylist([])
        return pa.Table.from_pylist([vars(self._loop.run(self._score(block)))])

    async def _score(self, block: pa.Table) -> PartDone:
        plan, asker = self._plan, self._asker
        index = block["index"].to_numpy().astype(np.int64)
        columns = range(len(plan.attributes))
        before = asker.cost
        work = asker.ask_images(pixels_of(block, plan.manifest.shape), columns)
        try:
            answers = await with_patience(
                work, asker, self._deadline_s, "finished parts are kept: run the same command again", REPLACING_S
            )
        except ModelChanged as change:
            raise ScorerError(
                f"the MLLM changed from {plan.model} to {change.model} in mid-scan; run the same command again with "
                "its scoring.model: parts of both are kept apart"
            ) from change
        after = asker.cost
        table = ScoreTable.empty(plan.attributes).extended(index, answers)
        start, stop = int(index[0]), int(index[-1]) + 1
        name = plan.part_name(start, stop)
        await asyncio.to_thread(self._run.write_bytes, name, encode_part(table))
        return PartDone(
            start, stop, after.asked - before.asked, after.failed - before.failed, after.stored - before.stored
        )


def encode_part(table: ScoreTable) -> bytes:
    """Parquet bytes of a part: record numbers, digit probabilities and mass, float32."""
    n = len(table.attributes)
    flat = {"probabilities": table.probabilities.reshape(-1), "digit_mass": table.digit_mass.reshape(-1)}
    widths = {"probabilities": n * NUM_DIGITS, "digit_mass": n}
    columns: dict[str, pa.Array] = {"index": pa.array(table.index)}
    for name, values in flat.items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32)), widths[name])
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


def read_parts(run: Storage, plan: Plan) -> ScoreTable:
    """All parts of a plan up to its last record, as one table in the order of the records.

    Raises:
        DataError: a part that cannot be read, or a record that is in none
    """
    n = len(plan.attributes)
    index, probabilities, mass = [], [], []
    for start, stop in find_parts(run, plan):
        name = plan.part_name(start, stop)
        part = read_table(run.read_bytes(name), f"{run.uri}/{name}", ["index", "probabilities", "digit_mass"])
        try:
            index.append(part["index"].to_numpy())
            probabilities.append(_flat(part["probabilities"]).reshape(-1, n, NUM_DIGITS))
            mass.append(_flat(part["digit_mass"]).reshape(-1, n))
        except (pa.ArrowException, AttributeError, ValueError, TypeError) as error:
            raise DataError(f"{run.uri}/{name} is not a readable part ({error}); delete it and scan again") from error
    numbers = np.concatenate(index) if index else np.zeros(0, np.int64)
    wanted, rows = np.unique(numbers, return_index=True)
    rows = rows[wanted < plan.stop]
    if len(rows) != plan.stop:
        raise DataError(
            f"{plan.stop - len(rows)} of {plan.stop} records are in no part of {run.uri}/{FOLDER}; scan again"
        )
    return ScoreTable(plan.attributes, numbers[rows], np.concatenate(probabilities)[rows], np.concatenate(mass)[rows])


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
