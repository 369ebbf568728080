"""Interrupts of our own reach the main thread also where Ctrl-C is ignored; those of others do not."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gem_ray.interrupts import interrupt_main_thread, own_interrupts_heard


@pytest.fixture(autouse=True)
def ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_of_ours_ends_a_wait_also_of_a_body_within_another():
    began = time.monotonic()
    threading.Timer(0.2, interrupt_main_thread).start()
    with pytest.raises(KeyboardInterrupt), own_interrupts_heard(), own_interrupts_heard():
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_interrupt_of_somebody_else_stays_ignored():
    with own_interrupts_heard():
        os.kill(os.getpid(), signal.SIGINT)


def test_where_ctrl_c_is_heard_its_handler_stays():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with own_interrupts_heard():
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
