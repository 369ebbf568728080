"""What the page says, cell by cell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gem_ray.table.markdown import (
    Contents,
    differences_table,
    markdown,
    means_table,
    number,
    paired_words,
    plural,
    signed,
    table,
)
from gem_ray.table.metrics import shown
from gem_ray.table.statistics import paired


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells of a Markdown table by the first of each row."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    parsed = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in parsed}


def test_the_best_mean_is_bold_and_those_within_the_spread_are_marked(contents: Contents):
    rows = rows_of(means_table(contents, "faces", shown([one.numbers for one in contents.records])))
    assert rows["method"] == ["n", "MIG ↑", "DCI-D ↑", "MSE ↓", "active latents"]
    assert rows["gem"] == ["3", "**.400 ± .100**", "**.520 ± .010**", "≈ .0115 ± .0010", "9.0 ± .0"]
    assert rows["beta_vae"] == ["3", "≈ .300 ± .100", "≈ .510 ± .010", ".0210 ± .0010", "4.0 ± .0"]
    assert rows["vae"] == ["3", ".200 ± .100", ".310 ± .010", "**.0110 ± .0010**", "6.0 ± 1.0"]


def test_differences_are_paired_and_bold_only_where_the_interval_leaves_out_0(contents: Contents):
    rows = rows_of(differences_table(contents, "faces", shown([one.numbers for one in contents.records])[:2]))
    assert rows["method"] == ["MIG ↑", "DCI-D ↑"]
    assert rows["vae"][0] == "**−.200 [−.200, −.200] 3/3**", "the same in every seed"
    assert rows["beta_vae"][1] == "−.010 [−.035, +.015] 2/3"
    assert "gem" not in rows


def test_a_page_names_its_command_its_budget_its_hardware_and_what_is_missing(contents: Contents):
    page = markdown(contents)
    assert "9 runs: 3 methods, 1 data set, seeds 0, 1, 2." in page
    assert "```\npython -m jobs.table\n```" in page
    assert "20,000 images." in page
    assert "6 comparisons, not corrected for their number" in page, "two methods, three scores"
    assert "9 min 09 s in all on 1 core of a test: 1 min 00 s to 1 min 02 s a run, 1,000 to 1,000 images/s" in page
    assert "* faces dip_vae seed 1: TrainingError: a loss that is not finite | at step 7 and more" in page
    assert "figures/faces.png" in page
    assert "figures/faces_differences.png" in page


def test_without_a_reference_or_without_records_there_is_nothing_to_compare(contents: Contents):
    assert "Differences" not in markdown(replace(contents, reference=""))
    empty = markdown(replace(contents, records=()))
    assert "No cell of this data set has ended." in empty
    assert "0 runs" in empty


def test_methods_of_the_same_options_are_said_to_be_the_same(contents: Contents):
    assert "same options" in markdown(contents), "all made-up records have one hash"
    apart = tuple(replace(one, options=one.method) for one in contents.records)
    assert "same options" not in markdown(replace(contents, records=apart))


def test_one_seed_is_shown_without_a_spread(contents: Contents):
    single = replace(contents, records=tuple(one for one in contents.records if one.seed == 0))
    rows = rows_of(means_table(single, "faces", shown([one.numbers for one in single.records])))
    assert rows["gem"][:2] == ["1", "**.300**"]
    assert paired_words(paired({0: 0.1}, {0: 0.3}), 3) == "−.200, n = 1"
    assert "one pair has no interval" in markdown(single)


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.1234, 3, ".123"),
        (-0.1234, 3, "−.123"),
        (1.5, 2, "1.50"),
        (-12345.678, 1, "−12,345.7"),
        (-0.0001, 3, ".000"),
        (0.9999, 3, "1.000"),
        (10.0, 1, "10.0"),
    ],
)
def test_numbers_are_written_without_a_leading_0_and_with_a_true_minus(value: float, decimals: int, text: str):
    assert number(value, decimals) == text


def test_a_sign_is_written_where_there_is_something_to_sign():
    assert [signed(value, 2) for value in (0.5, -0.5, 0.001, -0.001)] == ["+.50", "−.50", ".00", ".00"]


def test_a_cell_cannot_break_its_table():
    lines = table(["a", "b"], [["x|y\nz", "1"]]).splitlines()
    assert lines == ["| a      | b |", "|:-------|--:|", "| x\\|y z | 1 |"]


def test_one_is_not_many():
    assert (plural(1, "run"), plural(2_000, "run")) == ("1 run", "2,000 runs")
