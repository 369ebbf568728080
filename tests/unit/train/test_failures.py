"""Our errors are found in Ray's wrapping and end a run; others are left to Ray's restarts."""

import os
import signal
import sys

import pytest
import ray.train

from gem_ray.errors import DataError, TrainingError
from gem_ray.train.failures import StopOnOwnErrors, interrupts_as_keyboard, own_error


def test_an_error_of_ours_is_found_inside_what_ray_wraps():
    ours = TrainingError("the cause")
    cause = RuntimeError("wrapped")
    cause.__cause__ = ours
    assert own_error([ray.train.WorkerGroupError("group", {1: cause})]) is ours
    assert own_error([RuntimeError("not ours")]) is None


def test_the_controller_stops_for_our_errors_and_restarts_for_others():
    StopOnOwnErrors().after_exception(None, {0: RuntimeError("connection closed by peer")})
    with pytest.raises(DataError, match="flipped"):
        StopOnOwnErrors().after_exception(None, {0: RuntimeError("collateral"), 1: DataError("flipped byte")})


def test_ray_trains_way_of_ending_on_ctrl_c_becomes_a_keyboard_interrupt_and_the_handler_comes_back():
    def exit_as_ray_does(signum, frame):
        sys.exit(0)

    before = signal.getsignal(signal.SIGINT)

    def press_ctrl_c():
        signal.signal(signal.SIGINT, exit_as_ray_does)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupts_as_keyboard():
        press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is before
