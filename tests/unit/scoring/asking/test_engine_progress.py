"""A busy engine's health by what it finishes."""

from __future__ import annotations

import pytest

from gem_ray.errors import ScorerError
from gem_ray.scoring.asking.engine_progress import Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def give_up(progress: Progress) -> None:
    with pytest.raises(TimeoutError), progress.request():
        raise TimeoutError


def test_an_engine_that_finishes_now_and_then_is_well_however_long_its_queue():
    progress = Progress(clock := Clock())
    with progress.request():
        for _ in range(5):
            clock.now += 50
            with progress.request():
                progress.check(60)
        clock.now += 60
        assert progress.busy
        progress.check(60)
        clock.now += 1
        with pytest.raises(ScorerError, match="none of its questions for 61 s"):
            progress.check(60)
    assert not progress.busy


def test_what_is_given_up_ends_no_silence():
    progress = Progress(clock := Clock())
    give_up(progress)
    assert not progress.busy
    clock.now = 61
    with progress.request(), pytest.raises(ScorerError):
        progress.check(60)
    progress.check(0)  # that one finished


def test_idle_time_is_no_silence():
    progress = Progress(clock := Clock())
    with progress.request():
        pass
    clock.now = 3600
    with progress.request():
        progress.check(60)
