"""What failed is missing, and nothing else is: for any script of failures, from the question to the stored table.

Hundreds of random scripts, each by its seed: what becomes of every question at every try, which requests fail as a
whole, how batches are cut, and which attributes are asked about. Control: who takes a missing answer for a zero is
found out by the same check.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from gem_ray.config import ScoringConfig, StorageConfig
from gem_ray.errors import ScorerError
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.asker import Asker
from gem_ray.scoring.asking.prompts import NUM_DIGITS, missing
from gem_ray.scoring.asking.questions import MAX_TRIES, TRANSIENT
from gem_ray.scoring.asking.scripted import answer_of_value, hostile_answers
from gem_ray.scoring.rescoring.scores import ScoreTable, read_scores, write_scores
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald", "blond")
LASTING = ("low_digit_mass", "no_digit", "bad_image", "refused_name", "__import__('os')")
Cell = tuple[int, int]


@dataclass
class Script:
    """What becomes of each question: a name at each try, "" for the answer, "hostile" for one that is no answer."""

    seed: int
    num_images: int
    fates: dict[Cell, list[str]] = field(init=False)
    faults: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        share = rng.choice([0.0, 0.1, 0.5, 0.9])
        kinds = [*sorted(TRANSIENT), *LASTING, "hostile"]
        self.fates = {
            (image, column): [str(rng.choice(kinds)) if rng.uniform() < share else "" for _ in range(MAX_TRIES)]
            for image in range(self.num_images)
            for column in range(len(ATTRIBUTES))
        }

    def failed(self, cell: Cell) -> bool:
        """Whether the question has no answer in the end: tries go on after transient failures only."""
        for fate in self.fates[cell]:
            if fate not in TRANSIENT:
                return fate != ""
        return True

    def probabilities(self, cell: Cell) -> tuple[float, ...]:
        """The true answer, another one for each question."""
        value = answer_of_value(np.random.default_rng([self.seed, *cell]).uniform()).probabilities
        assert value is not None
        return value


class Scripted:
    """A scorer by script. A request fails as a whole now and then, or comes back with a wrong number of answers."""

    def __init__(self, script: Script) -> None:
        self._script, self._rng = script, np.random.default_rng([script.seed, 1])
        self._tries: dict[Cell, int] = defaultdict(int)
        self._hostile = hostile_answers()

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        await asyncio.sleep(0)
        trouble = self._rng.uniform()
        if trouble < 0.1:
            self._script.faults += 1
            raise ScorerError("the replica was killed")
        if trouble < 0.15:
            self._script.faults += 1
            return [answer_of_value(0.0)] * (len(requests) + int(self._rng.choice([-1, 1])))
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> ScoreAnswer:
        assert isinstance(request, ScoreRequest)
        cell = int.from_bytes(request.image[:2], "little"), ATTRIBUTES.index(request.attribute)
        fate = self._script.fates[cell][self._tries[cell]]
        self._tries[cell] += 1
        if fate == "hostile":
            return self._hostile[int(self._rng.integers(len(self._hostile)))]
        if fate:
            return missing(fate, float(self._rng.uniform()))
        return ScoreAnswer(probabilities=self._script.probabilities(cell), digit_mass=1.0)


def numbered_images(start: int, stop: int) -> np.ndarray:
    images = np.zeros((stop - start, 2, 2, 3), np.uint8)
    images.reshape(len(images), -1)[:, :2] = np.arange(start, stop, dtype="<u2").view(np.uint8).reshape(-1, 2)
    return images


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


def asked_by(script: Script, run: Storage) -> tuple[ScoreTable, np.ndarray, Asker]:
    """The table after blocks of images about random attributes; which cells were asked about [N, n]; who asked."""
    rng = np.random.default_rng([script.seed, 2])
    config = ScoringConfig(
        batch_questions=int(rng.integers(1, 20)),
        max_in_flight=int(rng.integers(1, 5)),
        answers_bytes=int(rng.choice([0, 1_000_000])),
    )
    count = [0]
    asker = Asker(config, run, ATTRIBUTES, Scripted(script), "scripted", lambda name, amount, **labels: count, no_sleep)
    table, asked = ScoreTable.empty(ATTRIBUTES), np.zeros((script.num_images, len(ATTRIBUTES)), dtype=bool)

    async def ask() -> ScoreTable:
        grown = table
        start = 0
        while start < script.num_images:
            stop = min(script.num_images, start + int(rng.integers(1, 9)))
            columns = sorted(rng.choice(len(ATTRIBUTES), int(rng.integers(1, len(ATTRIBUTES) + 1)), replace=False))
            answers = await asker.ask_images(numbered_images(start, stop), columns)
            grown = grown.extended(np.arange(start, stop), answers, columns)
            asked[start:stop, columns] = True
            start = stop
        return grown

    return asyncio.run(ask()), asked, asker


def wrong(table: ScoreTable, script: Script, asked: np.ndarray) -> list[str]:
    """Where a table says something else than the script."""
    found = []
    for (image, column), was_asked in np.ndenumerate(asked):
        row, cell = table.probabilities[image, column], (image, column)
        expected = script.probabilities(cell) if was_asked and not script.failed(cell) else (np.nan,) * NUM_DIGITS
        if not np.allclose(row, expected, atol=1e-6, equal_nan=True):
            found.append(f"{cell}: {row} in place of {expected}")
        if was_asked == np.isnan(table.digit_mass[image, column]):
            found.append(f"{cell}: asked about or not is not what the table says")
    return found


@pytest.mark.parametrize("seed", range(150))
def test_what_failed_is_missing_and_nothing_else_is(seed: int, tmp_path: Path) -> None:
    script = Script(seed, num_images=int(np.random.default_rng(seed).integers(1, 40)))
    run = Storage(str(tmp_path), StorageConfig())
    table, asked, asker = asked_by(script, run)
    assert wrong(table, script, asked) == []
    failed = sum(script.failed((image, column)) for image, column in np.argwhere(asked).tolist())
    cost = asker.cost
    assert (cost.asked, cost.failed, cost.under_way) == (int(asked.sum()), failed, 0)
    assert table.num_missing == failed
    assert wrong(read_scores(run, write_scores(run, table, "scripted")), script, asked) == []


def test_the_scripts_hold_every_kind_of_failure(tmp_path: Path) -> None:
    fates, faults, failed = set(), 0, 0
    for seed in range(20):
        script = Script(seed, num_images=30)
        asked_by(script, Storage(str(tmp_path / str(seed)), StorageConfig()))
        fates |= {fate for tries in script.fates.values() for fate in tries}
        faults += script.faults
        failed += sum(script.failed(cell) for cell in script.fates)
    assert fates == {"", "hostile", *TRANSIENT, *LASTING}
    assert faults > 50
    assert failed > 200


def test_a_later_answer_fills_the_gap_and_a_later_failure_makes_none(tmp_path: Path) -> None:
    script = Script(3, num_images=20)
    table, asked, _ = asked_by(script, Storage(str(tmp_path), StorageConfig()))
    index = np.arange(20)
    silent = [missing("deadline", 0.5)] * (20 * len(ATTRIBUTES))
    after = table.extended(index, silent)
    assert np.array_equal(after.probabilities, table.probabilities, equal_nan=True)
    assert after.asked.all()
    assert np.isnan(after.probabilities[~asked]).all()
    cured = Script(3, num_images=20)
    cured.fates = {cell: ["", "", ""] for cell in script.fates}
    answers = [
        ScoreAnswer(probabilities=cured.probabilities((image, column)), digit_mass=1.0)
        for image in range(20)
        for column in range(len(ATTRIBUTES))
    ]
    assert wrong(table.extended(index, answers), cured, np.ones_like(asked)) == []


def test_control_a_missing_answer_taken_for_a_zero_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Asker.ask_images

    async def inventing(self: Asker, *arguments: object) -> list[ScoreAnswer]:
        zero = answer_of_value(0.0).probabilities
        answers = await honest(self, *arguments)  # type: ignore[arg-type]
        return [replace(answer, probabilities=answer.probabilities or zero) for answer in answers]

    monkeypatch.setattr(Asker, "ask_images", inventing)
    script = Script(3, num_images=20)
    table, asked, _ = asked_by(script, Storage(str(tmp_path), StorageConfig()))
    assert wrong(table, script, asked) != []
