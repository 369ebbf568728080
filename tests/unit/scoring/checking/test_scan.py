"""What a scan still has to do, and how its parts are kept."""

from __future__ import annotations

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.data.manifest import Manifest, ShardEntry
from gem_ray.errors import DataError
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import answer_of_value
from gem_ray.scoring.checking.scan import Plan, encode_part, find_parts, read_parts
from gem_ray.scoring.rescoring.scores import ScoreTable
from gem_ray.storage import Storage

NAMES = ("male", "beard")


def make_manifest(*counts: int) -> Manifest:
    return Manifest(
        shape=(8, 8, 3),
        shards=tuple(
            ShardEntry(name=f"{n}", count=count, num_bytes=1, sha256=str(n)) for n, count in enumerate(counts)
        ),
        source="photos",
        attributes=None,
        seed=0,
        num_skipped=0,
        settings={},
    )


def make_plan(stop: int = 10, model: str = "m", manifest: Manifest | None = None) -> Plan:
    return Plan(manifest or make_manifest(6, 4), NAMES, model, "score-1/1", stop)


def write_part(run: Storage, plan: Plan, start: int, stop: int) -> ScoreTable:
    answers: list[ScoreAnswer] = [
        missing("deadline") if index == 3 else answer_of_value((index + column) / 20)
        for index in range(start, stop)
        for column in range(len(NAMES))
    ]
    table = ScoreTable.empty(NAMES).extended(np.arange(start, stop), answers)
    run.write_bytes(plan.part_name(start, stop), encode_part(table))
    return table


@pytest.fixture
def run(tmp_path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def test_parts_come_back_as_one_table_in_order(run: Storage):
    plan = make_plan()
    tables = [write_part(run, plan, start, stop) for start, stop in ((6, 10), (0, 4), (4, 6))]
    assert find_parts(run, plan) == [(0, 4), (4, 6), (6, 10)]
    found = read_parts(run, plan)
    np.testing.assert_array_equal(found.index, np.arange(10))
    expected = np.concatenate([tables[1].probabilities, tables[2].probabilities, tables[0].probabilities])
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-7)
    assert found.num_missing == 2
    np.testing.assert_array_equal(read_parts(run, make_plan(stop=5)).index, np.arange(5))


def test_parts_that_overlap_count_once(run: Storage):
    plan = make_plan(stop=6)
    for start, stop in ((0, 4), (2, 6)):
        write_part(run, plan, start, stop)
    np.testing.assert_array_equal(read_parts(run, plan).index, np.arange(6))


def test_parts_of_another_model_protocol_or_data_set_are_not_taken(run: Storage):
    write_part(run, make_plan(), 0, 4)
    assert find_parts(run, make_plan(model="another")) == []
    assert find_parts(run, make_plan(manifest=make_manifest(6, 4, 1))) == []
    assert find_parts(run, make_plan(stop=4)) == [(0, 4)]


def test_a_gap_and_a_damaged_part_are_named(run: Storage):
    plan = make_plan()
    write_part(run, plan, 0, 4)
    with pytest.raises(DataError, match="6 of 10 records are in no part"):
        read_parts(run, plan)
    run.write_bytes(plan.part_name(4, 10), b"no parquet")
    with pytest.raises(DataError, match=r"000000004_000000010\.parquet is not a readable Parquet file"):
        read_parts(run, plan)
