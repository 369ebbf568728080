"""Our errors, bugs and deaths without end stop a run; single deaths are left to Ray's restarts."""

import os
import signal
import sys

import pytest
import ray.train
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from gem_ray.errors import DataError, TrainingError
from gem_ray.train.failures import StopOnOwnErrors, StopOnRepeats, interrupts_as_keyboard, own_error


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


def died(preempted: bool = False) -> WorkerHealthCheckFailedError:
    return WorkerHealthCheckFailedError("a worker died", RayActorError(preempted=preempted))


def test_a_bug_ends_the_run_at_once():
    with pytest.raises(TypeError, match="unsupported operand"):
        StopOnOwnErrors().after_exception(None, {0: RuntimeError("peer is gone"), 1: TypeError("unsupported operand")})


def test_an_odd_error_beside_a_death_is_taken_for_its_echo():
    StopOnOwnErrors().after_exception(None, {0: ValueError("broken message"), 1: died()})


def test_deaths_are_recovered_from_as_long_as_checkpoints_come_between():
    stop = StopOnRepeats(max_failures=2)
    for _ in range(5):
        stop.after_exception(None, {0: died()})
        stop.after_exception(None, {1: died()})
        stop.after_report(None, [{"step": 8}], None)


def test_deaths_without_a_checkpoint_between_end_the_run_and_name_the_last_cause():
    stop = StopOnRepeats(max_failures=2)
    for _ in range(2):
        stop.after_exception(None, {0: died()})
    with pytest.raises(TrainingError, match=r"3 times in a row .* train\.max_failures=2; .*connection reset"):
        stop.after_exception(None, {1: ConnectionError("connection reset")})


def test_nodes_that_left_behind_a_notice_do_not_count():
    stop = StopOnRepeats(max_failures=0)
    for _ in range(5):
        stop.after_exception(None, {0: died(preempted=True), 1: RuntimeError("connection closed by peer")})
    with pytest.raises(TrainingError):
        stop.after_exception(None, {0: died()})


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
