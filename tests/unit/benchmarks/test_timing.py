"""Pairs timed in turn: the figure is a median of ratios, and the control notices a planted pause and nothing else."""

from __future__ import annotations

import pytest

from benchmarks.timing import Turns, figures, in_turn, ratio, spend


class Clock:
    """Seconds that pass only where somebody says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def pass_(self, seconds: float) -> None:
        self.seconds += seconds


def measured(a_s: float, b_s: float, hears_of_pauses: bool = True) -> Turns:
    clock = Clock()
    return in_turn(
        lambda pause_s: clock.pass_(a_s + 4 * pause_s * hears_of_pauses),
        lambda: clock.pass_(b_s),
        repeats=5,
        pauses=4,
        clock=clock.now,
    )


def test_a_ratio_is_the_median_over_pairs_with_its_extremes() -> None:
    found = ratio("x", "", ([1.0, 2.0, 4.0], [2.0, 2.0, 2.0]), 8, "images/s", target=0.9)
    assert (found.median, found.least, found.greatest) == (1.0, 0.5, 2.0)
    assert (found.rate_a, found.rate_b) == (4.0, 4.0)
    assert found.met
    assert not ratio("x", "", ([1.0], [0.5]), 1, "images/s", target=0.9).met


def test_work_that_takes_half_the_time_has_a_ratio_of_two_and_a_control_that_has_moved() -> None:
    figure, control = figures("x", "", measured(1.0, 2.0), 1, "calls/s", target=1.5)
    assert figure.median == pytest.approx(2.0)
    assert figure.met
    assert control.name == "x_control"
    assert control.median == pytest.approx(1 / 1.3, abs=1e-4)
    assert control.met


def test_a_control_that_does_not_hear_of_its_pause_has_not_moved() -> None:
    _, control = figures("x", "", measured(1.0, 2.0, hears_of_pauses=False), 1, "calls/s")
    assert control.median == 1.0
    assert control.is_control
    assert not control.met


def test_what_was_done_more_often_to_be_long_enough_is_reckoned_as_if_it_had_not() -> None:
    figure, control = figures("x", "", measured(1.0, 2.0).as_often(4), 1, "calls/s")
    assert figure.median == pytest.approx(8.0)
    assert control.median == pytest.approx(1 / 1.3, abs=1e-4)


def test_every_other_round_goes_backwards_and_the_first_calls_do_not_count() -> None:
    order: list[str] = []
    in_turn(lambda pause_s: order.append("planted" if pause_s else "a"), lambda: order.append("b"), 2, 1, share=0.0)
    assert order == ["b", "a", "a", "a", "b", "a", "a", "b", "a"]


def test_spending_takes_processor_time() -> None:
    import time

    before = time.process_time()
    spend(0.01)
    assert time.process_time() - before >= 0.01
