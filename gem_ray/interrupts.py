"""How a thread ends what the main thread does: by a Ctrl-C of its own, which Ray Train answers with an orderly end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_sent = threading.Event()


def interrupt_main_thread() -> None:
    """Interrupt the main thread, within ``own_interrupts_heard`` also where Ctrl-C is ignored."""
    _sent.set()
    os.kill(os.getpid(), signal.SIGINT)  # reaches the main thread also in a wait


@contextmanager
def own_interrupts_heard() -> Iterator[None]:
    """What a script starts with ``&`` inherits that SIGINT is ignored: hear ours all the same, and only ours.

    For the main thread; one such body may stand in another.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.SIG_IGN:
        yield
        return
    _sent.clear()

    def hear(*_: object) -> None:
        if _sent.is_set():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
