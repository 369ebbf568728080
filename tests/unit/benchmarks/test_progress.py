"""The time to go is what was expected, corrected by how wrong the expectation has been so far."""

from __future__ import annotations

from benchmarks.progress import remaining_s


def test_before_anything_is_done_the_expectation_counts() -> None:
    assert remaining_s([10.0, 20.0, 30.0], 0, 0.0) == 60.0


def test_parts_that_took_twice_as_long_double_the_rest() -> None:
    assert remaining_s([10.0, 20.0, 30.0], 2, 60.0) == 60.0
    assert remaining_s([10.0, 20.0, 30.0], 3, 90.0) == 0.0
