"""Which MLLM a scan asks, and which one it takes away at its end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ray.serve.schema import ApplicationStatus

from gem_ray.config import GemConfig, RunConfig, ScoringConfig
from gem_ray.errors import ScorerError
from gem_ray.scoring.checking import scanning
from gem_ray.scoring.checking.scanning import scorer_for


class Serve:
    """In the place of Serve: an application in one state after the other, the last one for ever; None is no such one.

    Attributes:
        log: what was started and stopped
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: ApplicationStatus | None) -> None:
        self.states, self.log = list(states), list[str]()
        monkeypatch.setattr(scanning, "LOOK_EVERY_S", 0.0)
        monkeypatch.setattr(scanning.serve, "status", self.status)
        monkeypatch.setattr(
            scanning, "start_scorer", lambda _, name, role: self.log.append("start") or f"scorer-{name}"
        )
        monkeypatch.setattr(scanning, "stop_scorer", lambda _: self.log.append("stop"))

    def status(self) -> SimpleNamespace:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        application = SimpleNamespace(status=state, message="no room for it")
        return SimpleNamespace(applications={"scorer-a": application} if state else {})


def config(start_timeout_s: float = 600.0) -> GemConfig:
    return GemConfig(run=RunConfig(name="a"), scoring=ScoringConfig(start_timeout_s=start_timeout_s))


BEFORE = [state for state in ApplicationStatus if state != ApplicationStatus.RUNNING]


@pytest.mark.parametrize("state", BEFORE)
def test_an_mllm_that_is_not_up_yet_is_waited_for_and_stays(monkeypatch, state):
    serve = Serve(monkeypatch, state, state, ApplicationStatus.RUNNING)
    with scorer_for(config()) as app:
        assert app == "scorer-a"
    assert serve.log == []


def test_an_mllm_that_is_there_stays_also_where_the_scan_fails(monkeypatch):
    serve = Serve(monkeypatch, ApplicationStatus.RUNNING)
    with pytest.raises(ZeroDivisionError), scorer_for(config()):
        raise ZeroDivisionError
    assert serve.log == []


def test_an_mllm_that_does_not_come_up_is_left_alone_and_named_with_its_state(monkeypatch):
    serve = Serve(monkeypatch, ApplicationStatus.UNHEALTHY)
    wanted = r"'scorer-a' is still UNHEALTHY after .*start_timeout_s=0 s \(no room for it\); scan again"
    with pytest.raises(ScorerError, match=wanted), scorer_for(config(start_timeout_s=0.0)):
        raise AssertionError("the body ran")
    assert serve.log == []


@pytest.mark.parametrize("states", [(None,), (ApplicationStatus.DELETING, None)])
def test_where_there_is_none_a_scan_has_one_of_its_own_until_it_ends(monkeypatch, states):
    serve = Serve(monkeypatch, *states)
    with scorer_for(config()):
        assert serve.log == ["start"]
    assert serve.log == ["start", "stop"]
