"""The table of scores: round trip, damage, and finding the one to go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import ScoresRef
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import answer_of_value
from gem_ray.scoring.rescoring.scores import KEPT_TABLES, ScoreTable, newest_scores, read_scores, write_scores
from gem_ray.storage import Storage
from gem_ray.train.relation_source import load_relations

ATTRIBUTES = ("male", "5 o'clock shadow")


def make_table(num_images: int) -> ScoreTable:
    answers = [answer_of_value((7 * k % 11) / 10) for k in range(2 * num_images)]
    answers[1] = missing("low_digit_mass", 0.2)
    return ScoreTable.empty(ATTRIBUTES).extended(np.arange(100, 100 + num_images), answers)


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def test_a_table_comes_back_as_it_was_written(run: Storage) -> None:
    table = make_table(5)
    ref = write_scores(run, table, "model-a")
    back = read_scores(run, ref)
    assert ref.num_images == 5
    assert back.attributes == ATTRIBUTES
    np.testing.assert_array_equal(back.index, table.index)
    np.testing.assert_allclose(back.probabilities, table.probabilities, atol=1e-7)
    np.testing.assert_allclose(back.expectations, table.expectations, atol=1e-6)
    np.testing.assert_allclose(back.digit_mass, table.digit_mass, atol=1e-7)


def test_a_missing_answer_is_nan_and_never_zero(run: Storage) -> None:
    back = read_scores(run, write_scores(run, make_table(3), "model-a"))
    assert back.num_missing == 1
    assert np.isnan(back.expectations[0, 1])


def test_one_flipped_byte_is_found(run: Storage) -> None:
    ref = write_scores(run, make_table(5), "model-a")
    data = bytearray(run.read_bytes(ref.uri))
    data[len(data) // 2] ^= 1
    run.write_bytes(ref.uri, bytes(data))
    with pytest.raises(DataError, match="sha256"):
        read_scores(run, ref)


def test_a_table_that_is_gone_is_named(run: Storage) -> None:
    ref = write_scores(run, make_table(5), "model-a")
    with pytest.raises(DataError, match=r"scores/nothing\.parquet"):
        read_scores(run, replace(ref, uri="scores/nothing.parquet"))


@pytest.fixture
def replaced(run: Storage) -> ScoresRef:
    """A table of two images that is gone: as many later ones as are kept have come since."""
    refs = [write_scores(run, make_table(images), "model-a") for images in range(2, 2 + KEPT_TABLES + 1)]
    assert not run.exists(refs[0].uri)
    return refs[0]


def test_a_table_that_later_ones_have_replaced_is_read_from_them(run: Storage, replaced: ScoresRef) -> None:
    found, wanted = read_scores(run, replaced), make_table(2)
    np.testing.assert_array_equal(found.index, wanted.index)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-7)


def test_a_run_goes_on_from_a_graph_whose_table_was_replaced(run: Storage, replaced: ScoresRef) -> None:
    relations = load_relations(run, replace(DisGraph.empty(ATTRIBUTES), scores=replaced))
    assert relations.index.tolist() == [100, 101]


def test_neither_a_damaged_table_nor_one_of_another_model_stands_for_one_that_is_gone(
    run: Storage, replaced: ScoresRef
) -> None:
    write_scores(run, make_table(30), "model-b")
    for name in run.list("scores"):
        if name.startswith(replaced.uri.rsplit("_", 2)[0]):
            run.write_bytes(name, run.read_bytes(name)[:-1])
    with pytest.raises(DataError, match="no later one holds its 2 images"):
        read_scores(run, replaced)


def test_the_largest_table_of_the_same_model_and_attributes_is_gone_on_from(run: Storage) -> None:
    write_scores(run, make_table(3), "model-a")
    wanted = write_scores(run, make_table(5), "model-a")
    write_scores(run, make_table(9), "model-b")
    found = newest_scores(run, ATTRIBUTES, "model-a")
    assert found is not None
    assert found[1] == wanted
    assert newest_scores(run, ATTRIBUTES, "model-c") is None
    assert newest_scores(run, ("male", "beard"), "model-a") is None


def test_a_damaged_table_is_passed_over(run: Storage) -> None:
    wanted = write_scores(run, make_table(3), "model-a")
    run.write_bytes("scores/scores_000000099_0.parquet", b"PAR1 not really PAR1")
    found = newest_scores(run, ATTRIBUTES, "model-a")
    assert found is not None
    assert found[1] == wanted


def test_only_the_newest_tables_are_kept(run: Storage) -> None:
    refs = [write_scores(run, make_table(count), "model-a") for count in range(2, 20)]
    kept = run.list("scores")
    assert len(kept) == 10
    assert kept[-1] == refs[-1].uri
    small = write_scores(run, make_table(1), "model-b")
    assert read_scores(run, small).index.size == 1


def test_what_was_not_asked_is_not_missing(run: Storage) -> None:
    table = ScoreTable.empty(ATTRIBUTES).extended(np.arange(3), [answer_of_value(0.4)] * 3, columns=[1])
    back = read_scores(run, write_scores(run, table, "model-a"))
    assert back.num_missing == 0
    assert back.asked.tolist() == [[False, True]] * 3
    assert np.isnan(back.expectations[:, 0]).all()
    assert back.mean_digit_mass == 1.0


def test_further_attributes_of_known_images_fill_their_rows() -> None:
    table = ScoreTable.empty(ATTRIBUTES).extended(np.array([4, 2]), [answer_of_value(0.4)] * 2, columns=[1])
    table = table.extended(np.array([2, 9]), [answer_of_value(0.8), answer_of_value(0.0)], columns=[0])
    assert table.index.tolist() == [4, 2, 9]
    np.testing.assert_allclose(table.expectations, [[np.nan, 2.0], [4.0, 2.0], [0.0, np.nan]])


def test_a_failed_second_question_leaves_the_first_answer() -> None:
    table = ScoreTable.empty(ATTRIBUTES).extended(np.array([1]), [answer_of_value(0.4), missing("deadline")])
    table = table.extended(np.array([1]), [missing("deadline"), answer_of_value(0.6)])
    np.testing.assert_allclose(table.expectations, [[2.0, 3.0]])


def test_tables_of_another_model_do_not_crowd_out_those_in_use(run: Storage) -> None:
    big = [write_scores(run, make_table(100 + k), "model-a") for k in range(12)]
    small = [write_scores(run, make_table(1 + k), "model-b") for k in range(3)]
    assert all(run.exists(ref.uri) for ref in small)
    assert sum(run.exists(ref.uri) for ref in big) == 10


def test_a_table_is_not_continued_under_another_protocol(run: Storage) -> None:
    write_scores(run, make_table(5), "model-a", "score-1/1")
    assert newest_scores(run, ATTRIBUTES, "model-a", "score-1/2") is None
    assert newest_scores(run, ATTRIBUTES, "model-a", "score-1/1") is not None
