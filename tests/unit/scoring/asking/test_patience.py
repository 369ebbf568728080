"""Waiting for answers, but not for ever."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from gem_ray.errors import ScorerError
from gem_ray.scoring.asking import patience
from gem_ray.scoring.asking.patience import with_patience


@dataclass
class Asker:
    waiting: bool = False
    last_error: str = ""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOOK_EVERY_S", 0.01)


def test_work_that_ends_gives_its_result_however_long_it_takes():
    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    assert asyncio.run(with_patience(work(), Asker(), 0.03, "", 0.02)) == "done"


def test_an_error_of_the_work_is_raised_as_it_is():
    async def work() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        asyncio.run(with_patience(work(), Asker(), 0.03, "", 0.02))


def test_silence_ends_the_work_with_its_cause_and_a_remedy():
    cancelled = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(
        ScorerError, match=r"no answer .* scoring\.deadline_s=0\.03 s and 0\.02 s more: the replica died; try again"
    ):
        asyncio.run(with_patience(work(), Asker(True, "the replica died"), 0.03, "try again", 0.02))
    assert cancelled == [True]


def test_a_short_silence_is_borne():
    asker = Asker(waiting=True)

    async def work() -> str:
        for _ in range(10):
            await asyncio.sleep(0.02)
            asker.waiting = not asker.waiting
        return "done"

    assert asyncio.run(with_patience(work(), asker, 0.1, "", 0.05)) == "done"


def test_a_silence_as_long_as_a_batch_may_take_is_borne():
    asker = Asker(waiting=True)

    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    assert asyncio.run(with_patience(work(), asker, 0.2, "")) == "done"
