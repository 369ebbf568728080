"""The check of an MLLM waits for a slow one."""

from __future__ import annotations

from typing import Any

import pytest

from gem_ray.config import CheckConfig, GemConfig, ScoringConfig
from gem_ray.errors import ScorerError
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.checking import check


class Engine(ScriptedScorer):
    fingerprint = "scripted"

    def shutdown(self) -> None:
        """Nothing was started."""


def test_a_batch_may_take_the_time_that_it_has(tmp_path, monkeypatch):
    async def wait(work: Any, asker: Any, deadline_s: float, remedy: str) -> None:
        work.close()
        raise ScorerError(f"waited for {deadline_s:g} s; {remedy}")

    monkeypatch.setattr(check, "vllm_scorer", lambda _: Engine(lambda _: answer_of_value(0)))
    monkeypatch.setattr(check, "with_patience", wait)
    wanted = CheckConfig(images=1, output=str(tmp_path))
    with pytest.raises(ScorerError, match=r"waited for 77 s; .* scoring\.batch_questions"):
        check.check_mllm(GemConfig(check=wanted, scoring=ScoringConfig(deadline_s=77)))
