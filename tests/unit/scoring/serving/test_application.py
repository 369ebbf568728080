"""A change of the MLLM while a run asks: what of the new options counts, and what the run keeps."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError
from gem_ray.scoring.serving import application, deployment
from gem_ray.scoring.serving.application import SERVING, change_mllm

CAPABLE = "Qwen/Qwen2.5-VL-7B-Instruct"
AS_THE_RUN_ASKS = ScoringConfig(model=CAPABLE, wordings=2, judgements=True, batch_questions=96, max_in_flight=32)


class Served:
    """In the place of Serve: an MLLM that is up, and what is deployed in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, config: ScoringConfig) -> None:
        self.configs = [config]
        monkeypatch.setattr(application, "POLL_S", 0.01)
        monkeypatch.setattr(application, "ServeScorer", lambda *_: self)
        monkeypatch.setattr(application, "_has_room", lambda *_: True)
        monkeypatch.setattr(application.serve, "run", self.run)

    async def configuration(self) -> ScoringConfig:
        return self.configs[-1]

    async def role(self) -> str:
        return ""

    def run(self, app: Any, **_: Any) -> None:
        self.configs.append(ScoringConfig(**app._bound_deployment.init_args[0]))


def test_a_model_that_cannot_be_asked_as_the_run_asks_is_refused_before_anything_is_deployed(monkeypatch):
    served = Served(monkeypatch, AS_THE_RUN_ASKS)
    with pytest.raises(ConfigError, match=r"run 'a' asks .* not go with nano: scoring\.wordings=2.* and start"):
        change_mllm(ScoringConfig(), "a")
    one_wording = dataclasses.replace(AS_THE_RUN_ASKS, wordings=1)
    served.configs.append(one_wording)
    with pytest.raises(ConfigError, match=r"scoring\.judgements=true"):
        change_mllm(ScoringConfig(), "a")
    assert served.configs == [AS_THE_RUN_ASKS, one_wording]


def test_a_queue_too_short_for_what_the_run_has_under_way_is_refused(monkeypatch):
    Served(monkeypatch, AS_THE_RUN_ASKS)
    with pytest.raises(ConfigError, match=r"run 'a' asks with .*: scoring\.max_in_flight=32 is more than .* = 12"):
        change_mllm(ScoringConfig(model=CAPABLE, max_queued_requests=4), "a")


def test_only_what_is_served_changes_and_the_questions_stay_over_a_second_change(monkeypatch, capsys):
    served = Served(monkeypatch, AS_THE_RUN_ASKS)
    other = ScoringConfig(model="Qwen/Qwen2-VL-2B-Instruct", deadline_s=300, wordings=1, batch_questions=24)
    change_mllm(other, "a")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("scoring.")]
    assert said == [f"scoring.model: {CAPABLE} -> {other.model}", "scoring.deadline_s: 60.0 -> 300"]
    assert served.configs[-1] == dataclasses.replace(AS_THE_RUN_ASKS, model=other.model, deadline_s=300)
    with pytest.raises(ConfigError, match="wordings=2"):
        change_mllm(ScoringConfig(), "a")


def test_the_options_that_change_are_those_that_the_deployment_reads(monkeypatch):
    read: set[str] = set()

    class Watched(ScoringConfig):
        def __getattribute__(self, name: str) -> Any:
            read.add(name)
            return super().__getattribute__(name)

    config = Watched()
    read.clear()
    monkeypatch.setattr(deployment, "dataclasses", SimpleNamespace(asdict=lambda _: {}))
    monkeypatch.setattr(deployment, "VLLMScorer", lambda *_, **__: None)
    deployment.build_app(config)
    deployment.vllm_scorer(config)
    assert {*read, "start_timeout_s"} == set(SERVING)  # that one is the wait for it
