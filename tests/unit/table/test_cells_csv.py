"""The CSV files are read back by the csv module as they were meant."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from gem_ray.table.cells_csv import cells_csv, differences_csv
from gem_ray.table.markdown import Contents


def test_every_cell_is_a_row_with_all_its_numbers_and_where_it_ran(contents: Contents):
    rows = list(csv.DictReader(io.StringIO(cells_csv(contents.records))))
    assert len(rows) == 9
    first = rows[0]
    assert (first["method"], first["experiment"], first["seed"]) == ("vae", "faces", "0")
    assert float(first["before.mig"]) == 0.1
    assert (first["hardware"], first["options"], first["seconds"]) == ("1 core of a test", "abcd1234", "60.0")


def test_a_number_that_a_cell_lacks_is_empty(contents: Contents):
    records = [replace(contents.records[0], numbers={"a": 1.0}), replace(contents.records[1], numbers={"b": 2.0})]
    rows = list(csv.DictReader(io.StringIO(cells_csv(records))))
    assert [(row["a"], row["b"]) for row in rows] == [("1.0", ""), ("", "2.0")]


def test_every_paired_comparison_is_a_row_with_its_interval_and_p(contents: Contents):
    rows = list(csv.DictReader(io.StringIO(differences_csv(contents))))
    assert len(rows) == 2 * 4, "two methods against gem in four metrics"
    row = next(one for one in rows if (one["method"], one["metric"]) == ("beta_vae", "before.dci_disentanglement"))
    assert (row["reference"], row["n"], row["higher_is_better"]) == ("gem", "3", "True")
    assert float(row["mean"]) == pytest.approx(-0.01)
    assert float(row["low"]) < 0 < float(row["high"])
    assert 0.05 < float(row["p"]) < 1
    assert differences_csv(replace(contents, reference="")).count("\n") == 1
