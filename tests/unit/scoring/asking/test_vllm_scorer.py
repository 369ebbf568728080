"""Deadlines and health of the engine, with one that answers when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gem_ray.data.faces import ATTRIBUTES
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import ScoreRequest
from gem_ray.scoring.asking import vllm_scorer
from gem_ray.scoring.asking.calibration import grey_request
from gem_ray.scoring.asking.prompts import DIGITS
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from gem_ray.scoring.nano_model import load_nano

DEADLINE_S = 0.5


class Renderer:
    """Renders a prompt as itself."""

    default_cmpl_tok_params = SimpleNamespace(with_kwargs=lambda **_: None)

    async def render_cmpl_async(self, prompts: list[dict[str, Any]], _: None) -> list[dict[str, Any]]:
        (prompt,) = prompts
        return [{"prompt_token_ids": [], "mm_placeholders": {}, "text": prompt["prompt"]}]


class Engine:
    """Answers 0 to the questions whose prompts hold one of the words of ``answers``, and else never."""

    errored = False

    def __init__(self) -> None:
        _, processor = load_nano()
        self._tokenizer, self.renderer = processor.tokenizer, Renderer()
        self.answers: tuple[str, ...] = ("",)
        self.asked: list[str] = []

    def get_tokenizer(self) -> Any:
        return self._tokenizer

    async def generate(self, rendered: dict[str, Any], _: Any, __: str) -> AsyncIterator[Any]:
        self.asked.append(rendered["text"])
        if not any(word in rendered["text"] for word in self.answers):
            await asyncio.Event().wait()
        zero = self._tokenizer.convert_tokens_to_ids(DIGITS[0])
        output = SimpleNamespace(logprobs=[{zero: SimpleNamespace(logprob=0.0)}])
        yield SimpleNamespace(outputs=[output], prompt_token_ids=[1], num_cached_tokens=0)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine()
    monkeypatch.setattr(vllm_scorer, "prepare_environment", lambda *_: None)
    monkeypatch.setattr(vllm_scorer, "start_engine", lambda *_: (engine, lambda **_: None))
    return engine


def make_scorer() -> VLLMScorer:
    return VLLMScorer("nano", min_digit_mass=0.5, deadline_s=DEADLINE_S)


def requests(attributes: tuple[str, ...] = ATTRIBUTES) -> list[ScoreRequest]:
    """One of each attribute, about images that differ, so that none waits for another."""
    return [grey_request(name, height=index + 1, width=1) for index, name in enumerate(attributes)]


async def while_asking(scorer: VLLMScorer, engine: Engine, look: Callable[[], Awaitable[None]]) -> None:
    """Look while a question is under way that the engine does not answer."""
    asking = asyncio.ensure_future(scorer.score(requests(("male",))))
    while not engine.asked:
        await asyncio.sleep(0)
    try:
        await look()
    finally:
        asking.cancel()
        await asyncio.wait([asking])


def test_what_is_not_answered_by_the_deadline_is_missing_and_the_rest_arrives(engine):
    engine.answers = ("beard",)
    answers = asyncio.run(make_scorer().score(requests()))
    assert [answer.failure for answer in answers] == [None if name == "beard" else "deadline" for name in ATTRIBUTES]


def test_an_engine_that_answers_nothing_by_the_deadline_is_no_scorer_rather_than_a_batch_of_missing_answers(engine):
    engine.answers = ()
    refused = grey_request("[INST]")
    with pytest.raises(ScorerError, match=r"no answer .* within scoring\.deadline_s=0\.5 s"):
        asyncio.run(make_scorer().score([refused, *requests()]))
    assert [answer.failure for answer in asyncio.run(make_scorer().score([refused]))] == ["refused_name"]


def test_the_health_of_a_busy_engine_is_not_asked_behind_its_queue(engine):
    engine.answers = ()

    async def work() -> None:
        scorer = make_scorer()
        await while_asking(scorer, engine, scorer.check_health)

    asyncio.run(work())
    assert len(engine.asked) == 1


def test_a_hung_engine_is_found_whether_it_is_busy_or_idle(engine):
    engine.answers = ()

    async def work() -> None:
        scorer = make_scorer()
        with pytest.raises(ScorerError, match="no answer"):
            await scorer.check_health()
        engine.asked.clear()
        scorer.deadline_s /= 2  # surely over by now
        with pytest.raises(ScorerError, match="has finished none of its questions"):
            await while_asking(scorer, engine, scorer.check_health)
        engine.answers = ("",)
        await scorer.check_health()

    asyncio.run(work())
