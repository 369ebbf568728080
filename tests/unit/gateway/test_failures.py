"""What a caller hears when something behind the gateway fails: a status, a code, the wait, no word of the server."""

from __future__ import annotations

import re
from unittest.mock import Mock

import pytest

from gem_ray.errors import GraphError, ScorerBusyError, ScorerError
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from tests.unit.gateway.small_gateway import code_of, score


@pytest.mark.parametrize(("error", "code"), [(ScorerError, "scorer_absent"), (ScorerBusyError, "busy")])
def test_an_mllm_that_does_not_answer_is_503_with_the_wait_and_without_its_words(make_setting, caplog, error, code):
    def answer(request: ScoreRequest) -> ScoreAnswer:
        raise error("actor <Actor at 0x7f00deadbeef> at 10.0.0.7 died")

    response = score(make_setting(answer=answer))
    assert (response.status_code, code_of(response)) == (503, code)
    assert int(response.headers["retry-after"]) > 0
    assert "0x" not in response.text
    assert "0x7f00deadbeef" in caplog.text


def test_a_store_that_does_not_answer_is_503(setting):
    setting.store.snapshot = Mock(side_effect=GraphError("did not answer"))
    for response in (setting.client.get("/graph"), setting.client.post("/relations", json={}), score(setting, data={})):
        assert (response.status_code, code_of(response)) == (503, "graph_absent")
    assert setting.client.get("/healthz").status_code == 503
    assert score(setting).status_code == 200


def test_an_error_nobody_thought_of_is_500_without_a_trace(make_setting):
    def answer(request: ScoreRequest) -> ScoreAnswer:
        raise ZeroDivisionError("in /srv/gem_ray/secret.py at 0x7f00deadbeef")

    response = score(make_setting(answer=answer))
    assert (response.status_code, code_of(response)) == (500, "internal")
    assert not re.search(r"0x|/srv|Traceback|ZeroDivision", response.text)
