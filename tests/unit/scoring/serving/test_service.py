"""The MLLM is loaded beside training: what keeps it from that ends the run, and nothing outlives the run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from gem_ray.config import GemConfig, ScoringConfig, StorageConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.scoring.serving import service
from gem_ray.scoring.serving.application import Waiting
from gem_ray.scoring.serving.service import scoring_service
from gem_ray.storage import Storage


class Parts:
    """In the place of Serve and of the rescorer: writes down what is started and ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: Exception | None = None, load_s: float = 0.0) -> None:
        self.log: list[str] = []
        self.place_s = 0.1
        self.up = threading.Event()
        self.failure, self.load_s = failure, load_s
        monkeypatch.setattr(service, "start_scorer", self.start_scorer)
        monkeypatch.setattr(service, "start_rescorer", lambda *_: (self.log.append("rescorer"), self.up.set()))
        monkeypatch.setattr(service, "stop_scorer", lambda _: self.log.append("no scorer"))
        monkeypatch.setattr(service, "stop_rescorer", lambda _: self.log.append("no rescorer"))

    def start_scorer(self, config: ScoringConfig, run_name: str, role: str, waiting: Waiting) -> str:
        time.sleep(self.place_s)
        self.log.append("placed")
        waiting.placed.set()
        if waiting.given_up.wait(self.load_s):
            raise ScorerError("given up")
        if self.failure:
            raise self.failure
        self.log.append("scorer")
        return "app"


def serve(tmp_path, config: GemConfig | None = None):
    run, data = (Storage(str(tmp_path / name), StorageConfig()) for name in ("run", "data"))
    return scoring_service(config or GemConfig(), run, data)


def interrupt_and_wait() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """SIGINT as a terminal's command has it, however the tests themselves were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def ignored(terminal: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_the_body_begins_before_the_mllm_is_loaded_and_both_end_with_it(tmp_path, monkeypatch):
    parts = Parts(monkeypatch, load_s=0.3)
    with serve(tmp_path):
        assert parts.log == ["placed"]  # its resources are its own before workers ask for theirs
        assert parts.up.wait(10)
    assert parts.log == ["placed", "scorer", "rescorer", "no rescorer", "no scorer"]


@pytest.mark.parametrize("failure", [ScorerError("no such model"), ZeroDivisionError("no such model: a bug")])
def test_what_keeps_the_mllm_from_loading_ends_the_body_in_its_name(tmp_path, monkeypatch, failure):
    parts = Parts(monkeypatch, failure=failure, load_s=0.2)
    began = time.monotonic()
    with pytest.raises(type(failure), match="no such model"), serve(tmp_path):
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert parts.log == ["placed", "no rescorer", "no scorer"]


def test_a_failure_ends_the_body_also_where_ctrl_c_is_ignored_as_behind_an_ampersand(tmp_path, monkeypatch, ignored):
    parts = Parts(monkeypatch, failure=ScorerError("no such model"), load_s=0.2)
    began = time.monotonic()
    with pytest.raises(ScorerError, match="no such model"), serve(tmp_path):
        interrupt_and_wait()
    assert 0.2 < time.monotonic() - began < 10
    assert parts.log == ["placed", "no rescorer", "no scorer"]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_body_that_ends_first_gives_the_loading_up(tmp_path, monkeypatch):
    parts = Parts(monkeypatch, failure=ScorerError("too late to matter"), load_s=30)
    began = time.monotonic()
    with serve(tmp_path):
        pass
    assert time.monotonic() - began < 10
    assert parts.log == ["placed", "no rescorer", "no scorer"]


def test_a_failure_before_there_is_a_place_does_not_keep_the_body_waiting(tmp_path, monkeypatch):
    parts = Parts(monkeypatch)
    monkeypatch.setattr(service, "start_scorer", lambda *_, **__: (_ for _ in ()).throw(ScorerError("no room")))
    began = time.monotonic()
    with pytest.raises(ScorerError, match="no room"), serve(tmp_path):
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert parts.log == ["no rescorer", "no scorer"]


def test_ctrl_c_stays_ctrl_c(tmp_path, monkeypatch):
    parts = Parts(monkeypatch, load_s=30)
    with pytest.raises(KeyboardInterrupt), serve(tmp_path):
        raise KeyboardInterrupt
    assert parts.log == ["placed", "no rescorer", "no scorer"]


def test_questions_that_a_model_cannot_be_asked_are_said_before_anything_starts(tmp_path, monkeypatch):
    parts = Parts(monkeypatch)
    many = replace(GemConfig(), scoring=ScoringConfig(wordings=9))
    with pytest.raises(ConfigError, match="wordings"), serve(tmp_path, many):
        raise AssertionError("the body ran")
    assert parts.log == []
