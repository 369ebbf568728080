"""The table of the MLLM's scores of data images: Parquet in the run's storage, named by a ``ScoresRef``.

A restarted rescorer goes on from the newest table of the same model and protocol. Not every attribute of an image need
be asked about: what was not asked has no digit mass, what was asked in vain has one and no probabilities.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gem_ray.errors import DataError
from gem_ray.messages.graph import ScoresRef
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.parquet_bytes import read_table
from gem_ray.scoring.asking.prompts import NUM_DIGITS, PROMPT_VERSION
from gem_ray.storage import Storage

log = logging.getLogger(__name__)

FOLDER = "scores"
HASH_DIGITS = 12  # of a table's sha256 in its name
SCHEMA_VERSION = "2"
KEPT_TABLES = 10  # a later table begins with the rows of an earlier one, which is read from it, see ``read_scores``


@dataclass(frozen=True)
class ScoreTable:
    """Answers about M images and n attributes.

    Args:
        attributes: names of the n attributes
        index: int64 [M], record numbers in the data set
        probabilities: float64 [M, n, 6] of the digits; NaN where an answer is missing, or was not asked for
        digit_mass: float64 [M, n], probability the model gave to the digits before they were renormalised; NaN where
            nothing was asked
    """

    attributes: tuple[str, ...]
    index: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    digit_mass: NDArray[np.float64]

    @property
    def expectations(self) -> NDArray[np.float64]:
        """Mean digits in [0, 5], float64 [M, n]; NaN where missing."""
        return self.probabilities @ np.arange(NUM_DIGITS, dtype=np.float64)

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Which questions were asked [M, n]."""
        return ~np.isnan(self.digit_mass)

    @property
    def num_missing(self) -> int:
        """Questions that were asked and whose answer could not be read."""
        return int((np.isnan(self.probabilities[..., 0]) & self.asked).sum())

    @property
    def mean_digit_mass(self) -> float | None:
        """Over all questions that were asked, None before the first."""
        return float(self.digit_mass[self.asked].mean()) if self.asked.any() else None

    def first(self, num_images: int) -> ScoreTable:
        """The images that were asked about first."""
        part = slice(num_images)
        return ScoreTable(self.attributes, self.index[part], self.probabilities[part], self.digit_mass[part])

    @staticmethod
    def empty(attributes: Sequence[str]) -> ScoreTable:
        """A table without rows."""
        n = len(attributes)
        return ScoreTable(
            tuple(attributes), np.zeros(0, np.int64), np.zeros((0, n, NUM_DIGITS), np.float64), np.zeros((0, n))
        )

    def extended(
        self, index: NDArray[np.int64], answers: Sequence[ScoreAnswer], columns: Sequence[int] | None = None
    ) -> ScoreTable:
        """The table with answers about further images, or about further attributes of images it has.

        Args:
            index: int64 [N], record numbers
            answers: image by image, attribute by attribute
            columns: the attributes that were asked about, None for all; a missing answer never replaces another
        """
        asked = np.arange(len(self.attributes)) if columns is None else np.asarray(columns, dtype=np.int64)
        new = np.asarray(index, dtype=np.int64)[~np.isin(index, self.index)]
        grown = ScoreTable(
            self.attributes,
            np.concatenate([self.index, new]),
            np.concatenate([self.probabilities, np.full((len(new), *self.probabilities.shape[1:]), np.nan)]),
            np.concatenate([self.digit_mass, np.full((len(new), len(self.attributes)), np.nan)]),
        )
        order = np.argsort(grown.index)
        rows = order[np.searchsorted(grown.index, index, sorter=order)]
        values = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
        probabilities = np.array(values, dtype=np.float64).reshape(len(index), len(asked), NUM_DIGITS)
        mass = np.array([answer.digit_mass for answer in answers], dtype=np.float64).reshape(len(index), len(asked))
        cells = np.ix_(rows, asked)
        better = ~np.isnan(probabilities[..., 0]) | np.isnan(grown.probabilities[cells][..., 0])
        grown.probabilities[cells] = np.where(better[..., None], probabilities, grown.probabilities[cells])
        grown.digit_mass[cells] = np.where(better, mass, grown.digit_mass[cells])
        return grown


def write_scores(run: Storage, table: ScoreTable, model: str, protocol: str = PROMPT_VERSION) -> ScoresRef:
    """Store the table and delete all but the newest few.

    Args:
        run: the run's folder
        model: fingerprint of the model that answered
        protocol: how it was asked; tables of different protocols are not continued by one another
    """
    columns: dict[str, pa.Array] = {"index": pa.array(table.index)}
    for j, name in enumerate(table.attributes):
        columns[f"{name}|expectation"] = pa.array(table.expectations[:, j].astype(np.float32))
        columns[f"{name}|digit_mass"] = pa.array(table.digit_mass[:, j].astype(np.float32))
        for digit in range(NUM_DIGITS):
            columns[f"{name}|p{digit}"] = pa.array(table.probabilities[:, j, digit].astype(np.float32))
    metadata = {"schema_version": SCHEMA_VERSION, "protocol": protocol, "model": model}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), buffer, compression="zstd")
    data = buffer.getvalue()
    sha = hashlib.sha256(data).hexdigest()
    # By the number of answers: each later table of one model and protocol has more.
    prefix = _prefix(model, protocol)
    name = f"{prefix}{int(table.asked.sum()):012d}_{sha[:HASH_DIGITS]}.parquet"
    run.write_bytes(name, data)
    for old in [other for other in run.list(FOLDER) if other.startswith(prefix) and other != name][: 1 - KEPT_TABLES]:
        run.delete(old)
    return ScoresRef(uri=name, sha256=sha, num_images=len(table.index))


def is_from(ref: ScoresRef, model: str, protocol: str) -> bool:
    """Whether a table is of this model, asked like this."""
    return ref.uri.startswith(_prefix(model, protocol))


def _prefix(model: str, protocol: str) -> str:
    return f"{FOLDER}/scores_{hashlib.sha256(f'{model} {protocol}'.encode()).hexdigest()[:8]}_"


def read_scores(run: Storage, ref: ScoresRef) -> ScoreTable:
    """The table a ``ScoresRef`` names.

    Of one that later tables have replaced (a checkpoint or an earlier version of the graph may name it) the images come
    from the oldest of those that are kept: what could not be read of them then may have been answered since.

    Raises:
        DataError: it is missing with all that replaced it, or its bytes do not match the reference's sha256
    """
    try:
        data, found = run.read_hashed(ref.uri, ref.sha256)
    except FileNotFoundError as error:
        successor = _successor(run, ref)
        if successor is None:
            raise DataError(
                f"the score table {run.uri}/{ref.uri} is gone, and no later one holds its {ref.num_images:,} images; "
                "restore the folder, or start a new run"
            ) from error
        return successor
    if found != ref.sha256:
        raise DataError(f"the score table {run.uri}/{ref.uri} does not match its sha256: the file is damaged")
    return _decode(data, f"{run.uri}/{ref.uri}")[0]


def _successor(run: Storage, ref: ScoresRef) -> ScoreTable | None:
    prefix = ref.uri.rsplit("_", 2)[0] + "_"
    for name in run.list(FOLDER):
        if not name.startswith(prefix) or name < ref.uri:
            continue
        try:
            data = run.read_bytes(name)
        except FileNotFoundError:
            continue  # replaced in turn
        if not name.endswith(f"_{hashlib.sha256(data).hexdigest()[:HASH_DIGITS]}.parquet"):
            continue
        table = _decode(data, f"{run.uri}/{name}")[0]
        if len(table.index) >= ref.num_images:
            log.info("%s has been replaced: its %d images are read from %s", ref.uri, ref.num_images, name)
            return table.first(ref.num_images)
    return None


def newest_scores(
    run: Storage, attributes: Sequence[str], model: str, protocol: str = PROMPT_VERSION
) -> tuple[ScoreTable, ScoresRef] | None:
    """The fullest stored table of these attributes, this model and protocol; None where there is none."""
    for name in reversed(run.list(FOLDER)):
        try:
            data = run.read_bytes(name)
            table, metadata = _decode(data, f"{run.uri}/{name}")
        except (DataError, FileNotFoundError):
            continue
        wanted = {"protocol": protocol, "model": model}
        if table.attributes == tuple(attributes) and wanted.items() <= metadata.items():
            sha = hashlib.sha256(data).hexdigest()
            return table, ScoresRef(uri=name, sha256=sha, num_images=len(table.index))
    return None


def fullest_scores(run: Storage, attributes: Sequence[str]) -> tuple[ScoreTable, str] | None:
    """The stored table of these attributes with most answers, and the model that gave them; None where there is none.

    Raises:
        DataError: a table is damaged
    """
    best: tuple[ScoreTable, str] | None = None
    for name in run.list(FOLDER):
        table, metadata = _decode(run.read_bytes(name), f"{run.uri}/{name}")
        if table.attributes == tuple(attributes) and (best is None or table.asked.sum() > best[0].asked.sum()):
            best = table, metadata["model"]
    return best


def _decode(data: bytes, where: str) -> tuple[ScoreTable, dict[str, str]]:
    stored = read_table(data, where, ["index"])
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (stored.schema.metadata or {}).items()
    }
    if metadata.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{where} has schema version {metadata.get('schema_version')}, this program reads {SCHEMA_VERSION}"
        )
    names = [column.split("|")[0] for column in stored.column_names if column.endswith("|expectation")]
    wanted = [f"{name}|{what}" for name in names for what in ("digit_mass", *(f"p{d}" for d in range(NUM_DIGITS)))]
    if any(name not in stored.column_names or not pa.types.is_floating(stored[name].type) for name in wanted):
        raise DataError(f"{where} has no numbers in the columns of {', '.join(names)}")
    if not names or not pa.types.is_integer(stored["index"].type) or "model" not in metadata:
        raise DataError(f"{where} has no scores, no whole numbers of images, or no name of a model")
    shape = (stored.num_rows, len(names), NUM_DIGITS)
    columns = [[stored[f"{name}|p{digit}"].to_numpy() for digit in range(NUM_DIGITS)] for name in names]
    probabilities = np.array(columns, dtype=np.float64).reshape(len(names), NUM_DIGITS, -1).transpose(2, 0, 1)
    mass = np.array([stored[f"{name}|digit_mass"].to_numpy() for name in names], dtype=np.float64).T
    index = stored["index"].to_numpy().astype(np.int64)
    return ScoreTable(tuple(names), index, probabilities.reshape(shape), mass.reshape(shape[:2])), metadata
