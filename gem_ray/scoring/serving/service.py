"""The MLLM in Ray Serve and the rescorer that asks it, up for the length of a run.

A model takes from half a minute to half an hour to load, in which workers start, and train where it takes long.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager

from gem_ray.config import GemConfig
from gem_ray.interrupts import interrupt_main_thread, own_interrupts_heard
from gem_ray.scoring.asking.model_files import check_questions
from gem_ray.scoring.rescoring.rescorer import START_S, start_rescorer
from gem_ray.scoring.rescoring.rescorer_client import stop_rescorer
from gem_ray.scoring.serving.application import Waiting, served_fingerprint, start_scorer, stop_scorer
from gem_ray.storage import Storage

PLACE_S = 60.0  # Serve itself takes some 5 s to start


@contextmanager
def scoring_service(config: GemConfig, run: Storage, data: Storage) -> Iterator[None]:
    """The MLLM and the rescorer, started beside the body; both end with it.

    The body begins when the MLLM has its place, so that training does not take that, and not when it is loaded.

    Where they cannot start, the body is interrupted as by Ctrl-C; hence this belongs into the main thread.

    Raises:
        ConfigError: questions that the model cannot be asked; before the body
        ScorerError: see ``application.start_scorer``; in the place of the body's KeyboardInterrupt
    """
    check_questions(config.scoring)
    start = _Start(config, run, data)
    try:
        with ExitStack() as services:
            services.callback(stop_scorer, config.run.name)
            services.callback(stop_rescorer, config.run.name)
            services.callback(start.end)  # the first of the three to be called: nothing is started behind the others
            services.enter_context(own_interrupts_heard())
            start.begin()
            yield
    except KeyboardInterrupt:
        if start.failure is not None:
            raise start.failure from None
        raise


class _Start:
    """Starts both in a thread; ``failure`` is what kept them from it."""

    def __init__(self, config: GemConfig, run: Storage, data: Storage) -> None:
        self._config, self._run, self._data = config, run, data
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="start-scoring")
        self._work_done: Future[None] | None = None
        self.waiting = Waiting()
        self.failure: BaseException | None = None

    def begin(self) -> None:
        """Begin, and wait until the MLLM has its place, or never gets one."""
        self._work_done = self._thread.submit(self._work)
        self._work_done.add_done_callback(self._look_at)
        self.waiting.placed.wait(PLACE_S)

    def end(self) -> None:
        """Start nothing more. A failure from here on is that of something nobody wants any longer."""
        with self._lock:
            self.waiting.given_up.set()
        if self._work_done is not None:
            wait([self._work_done], START_S)
        self._thread.shutdown(wait=False)

    def _work(self) -> None:
        config = self._config
        app = start_scorer(config.scoring, config.run.name, role=config.placement.mllm, waiting=self.waiting)
        if not self.waiting.given_up.is_set():
            start_rescorer(config, self._run, self._data, app, served_fingerprint(config.scoring, app))

    def _look_at(self, done: Future[None]) -> None:
        error = done.exception()
        with self._lock:
            if error is not None and not self.waiting.given_up.is_set():
                self.failure = error
                interrupt_main_thread()
        self.waiting.placed.set()
