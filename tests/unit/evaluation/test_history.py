"""Reading what a run wrote down, with everything that happens to such a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.evaluation.history import read_history
from gem_ray.storage import Storage


def write(folder: Path, *lines: object, torn: str = "") -> Storage:
    run = Storage(str(folder), StorageConfig())
    run.write_bytes("metrics.jsonl", ("".join(json.dumps(line) + "\n" for line in lines) + torn).encode())
    return run


def test_a_run_that_wrote_nothing_has_an_empty_history(tmp_path):
    history = read_history(Storage(str(tmp_path), StorageConfig()))
    assert history.measurements == history.events == ()
    assert np.isnan(history.last("total"))
    assert history.training_s(64) == 0


def test_events_and_measurements_are_told_apart(tmp_path):
    run = write(
        tmp_path, {"step": 4, "total": 2.0}, {"event": "graph", "step": 5, "version": 3}, {"step": 9, "total": 1}
    )
    history = read_history(run)
    assert history.column("total").tolist() == [2.0, 1.0]
    assert [event["version"] for event in history.events] == [3]


def test_what_a_line_does_not_know_is_nan(tmp_path):
    history = read_history(write(tmp_path, {"step": 1, "discriminator": None}, {"step": 2, "discriminator": 0.7}))
    assert np.isnan(history.column("discriminator")[0])
    assert history.last("discriminator") == 0.7
    assert np.isnan(history.column("of another version")).all()


def test_lists_become_the_rows_of_a_table(tmp_path):
    history = read_history(write(tmp_path, {"step": 1, "kl_nodes": [1, 2]}, {"step": 2}))
    np.testing.assert_equal(history.table("kl_nodes"), [[1.0, 2.0], [np.nan, np.nan]])


def test_a_torn_last_line_is_left_out(tmp_path):
    history = read_history(write(tmp_path, {"step": 1}, torn='{"step": 2, "tot'))
    assert len(history.measurements) == 1


@pytest.mark.parametrize("bad", ['{"step": ', "[1]"])
def test_a_damaged_line_in_the_middle_is_named_by_its_number(tmp_path, bad):
    run = write(tmp_path, {"step": 1}, torn=f'{bad}\n{{"step": 3}}\n')
    with pytest.raises(DataError, match=r"line 2 of .*metrics\.jsonl"):
        read_history(run)


def test_a_step_that_was_done_again_counts_once_and_the_later_line_wins(tmp_path):
    history = read_history(write(tmp_path, {"step": 5, "total": 9}, {"step": 10, "total": 8}, {"step": 5, "total": 7}))
    assert history.column("step").tolist() == [5, 10]
    assert history.column("total").tolist() == [7, 8]


def test_a_pause_between_two_sittings_is_not_training(tmp_path):
    # 10 steps of 64 images at 640/s, then, an hour later, 10 at 320/s.
    first = {"step": 9, "images_per_s": 640.0, "time": 0.0}
    history = read_history(write(tmp_path, first, {"step": 19, "images_per_s": 320.0, "time": 3600.0}))
    assert history.training_s(64) == pytest.approx(1.0 + 2.0)


def test_a_counter_that_began_again_goes_on_where_it_was(tmp_path):
    lines = [{"step": step, "asked": asked} for step, asked in enumerate([None, 10, 25, 25, 5, 30])]
    history = read_history(write(tmp_path, *lines))
    assert history.total("asked") == 25 + 30
    assert np.isnan(history.total("of another version"))
