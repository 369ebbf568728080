"""Asks question by question under a policy and counts what it takes to know the relations of a world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.worlds import BLOCK, NUM_DIGITS, DriftingWorld, ImageWorld, JudgedWorld
from gem_ray.graph.relations import relations_from_probabilities
from gem_ray.scoring.choosing.selection import FRESH_LOOK, EdgeSignals, Selector, SignalWeights, edge_values

JUDGEMENT_COST = 4  # strength and sign, in two mention orders
WARM_UP, ROUNDS = 40, 120
MOST_ROUNDS = 50  # over a finite number of images


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of choosing.

    Args:
        pairs: two attributes a block only, as round-robin has it, whatever the policy
        same_images: turn k of a pair is about block k, so answers given to other pairs count; otherwise every turn is
            about the next block
        shuffled: control, values are dealt out to the pairs at random
        gap: of looks, how far the learned weight is from what was seen, instead of how far it has moved since
        follows: of looks, see ``DriftingWorld``
    """

    name: str
    policy: str
    pairs: bool = False
    same_images: bool = False
    shuffled: bool = False
    gap: bool = False
    follows: float = 1.0

    def values(self, signals: EdgeSignals, weights: SignalWeights, rng: np.random.Generator) -> NDArray[np.float64]:
        """Of every pair; only the policy ``value`` looks at them."""
        if self.policy != "value":
            return np.zeros_like(signals.standard_error)
        values = edge_values(signals, weights)
        if self.shuffled:
            off_diagonal = ~np.eye(len(values), dtype=bool)
            # Equal values, of pairs never asked about say, would go by their place.
            values[off_diagonal] = rng.permutation(values[off_diagonal]) + 1e-9 * rng.random(off_diagonal.sum())
        return values


IMAGE_ARMS = (
    Arm(name="value", policy="value"),
    Arm(name="everything", policy="everything"),
    Arm(name="round_robin", policy="round_robin"),
    Arm(name="round_robin, same images", policy="round_robin", same_images=True),
    Arm(name="uniform", policy="uniform"),
    Arm(name="value, pairs only", policy="value", pairs=True),
    Arm(name="control: shuffled, pairs only", policy="value", pairs=True, shuffled=True),
)
JUDGED_ARMS = (
    Arm(name="value", policy="value"),
    Arm(name="round_robin", policy="round_robin"),
    Arm(name="uniform", policy="uniform"),
    Arm(name="control: shuffled", policy="value", shuffled=True),
)
LOOK_ARMS = (
    *JUDGED_ARMS[:3],
    Arm(name="value, by the gap", policy="value", gap=True),
    Arm(name="control: shuffled", policy="value", shuffled=True),
    Arm(name="value, half followed", policy="value", follows=0.5),
    Arm(name="control: not followed", policy="value", follows=0.0),
)


class Asked:
    """The answers there are about the images of a world; none is asked for twice."""

    def __init__(self, world: ImageWorld) -> None:
        n = len(world.truth)
        self._world = world
        self._answers: dict[tuple[int, int], NDArray[np.float32]] = {}  # (block, attribute): [BLOCK, digits]
        self._known = np.zeros((64, n), dtype=bool)
        self.strength = np.zeros((n, n))
        self.standard_error = np.full((n, n), np.inf)
        self.count = np.zeros((n, n), dtype=np.int64)
        self.asked_at = np.full((n, n), np.nan)
        self.questions = 0
        self._turn = 0

    def ask(self, chosen: tuple[int, ...], block: int) -> None:
        """Ask about some attributes of a block, and bring the relations that gained images up to date."""
        while block >= len(self._known):
            self._known = np.concatenate([self._known, np.zeros_like(self._known)])
        new = [k for k in chosen if not self._known[block, k]]
        digits = self._world.answers(block).astype(np.float32) if new else None
        for k in new:
            assert digits is not None
            self._answers[block, k] = digits[:, k]
        self._known[block, new] = True
        self.questions += BLOCK * len(new)
        self._turn += 1
        self.asked_at[np.ix_(chosen, chosen)] = self._turn
        if new:
            self._update(np.flatnonzero(self._known[block]))

    def _update(self, columns: NDArray[np.int64]) -> None:
        """Relations among some attributes, from all images of which two of them are known."""
        rows = np.flatnonzero(self._known[:, columns].sum(axis=1) >= 2)
        missing = np.full((BLOCK, NUM_DIGITS), np.nan, dtype=np.float32)
        answers = np.array([[self._answers.get((int(row), int(k)), missing) for k in columns] for row in rows])
        relations = relations_from_probabilities(answers.swapaxes(1, 2).reshape(-1, len(columns), NUM_DIGITS))
        cells = np.ix_(columns, columns)
        self.strength[cells], self.standard_error[cells] = relations.strength, relations.standard_error
        self.count[cells] = relations.num_observations

    def signals(self) -> EdgeSignals:
        """Of the graph so far; there is no training, so nothing has influence or was learned."""
        unknown = np.full_like(self.strength, np.nan)
        return EdgeSignals(
            standard_error=self.standard_error,
            order_gap=unknown,
            influence=unknown,
            disagreement=unknown,
            age=self._turn - self.asked_at,
            num_observations=self.count,
        )


def error_of(strength: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean absolute error over all directed pairs."""
    return float(np.abs(strength - truth)[~np.eye(len(truth), dtype=bool)].mean())


def questions_about_images(world: ImageWorld, arm: Arm, seed: int, target: float, most: int) -> int | None:
    """Questions until the graph's error is under the target; None where ``most`` are not enough."""
    n = len(world.truth)
    asked, selector, rng = Asked(world), Selector(arm.policy, n, seed), np.random.default_rng([seed, 5])
    turns: dict[tuple[int, ...], int] = {}
    turn = 0
    while asked.questions < most:
        values = arm.values(asked.signals(), SignalWeights(), rng)
        chosen = selector.attributes(values, 2 * BLOCK if arm.pairs else None, BLOCK)
        block = turns.get(chosen, 0) if arm.same_images else turn
        if world.num_blocks is not None:  # where all images had their turn, they come round again
            if turn >= MOST_ROUNDS * world.num_blocks:
                return None
            block %= world.num_blocks
        asked.ask(chosen, block)
        turns[chosen] = turns.get(chosen, 0) + 1
        turn += 1
        if error_of(asked.strength, world.truth) < target:
            return asked.questions
    return None


def questions_about_pairs(world: JudgedWorld, arm: Arm, seed: int, target: float, most: int) -> int | None:
    """The same for judgements of directed pairs, a tenth of them a round; every pair has the mean of its answers."""
    n = len(world.truth)
    selector, rng = Selector(arm.policy, n, seed), np.random.default_rng([seed, 6])
    count, total, squares = np.zeros((n, n), dtype=np.int64), np.zeros((n, n)), np.zeros((n, n))
    gap, asked_at = np.full((n, n), np.nan), np.full((n, n), np.nan)
    questions = turn = 0
    while questions < most:
        mean = total / np.maximum(count, 1)
        # The scatter of few answers says little: two answers' worth of a typical scatter of .2 beside it.
        variance = (squares - count * mean**2 + 2 * 0.2**2) / np.maximum(count + 1, 1)
        signals = EdgeSignals(
            standard_error=np.where(count > 0, np.sqrt(variance / np.maximum(count, 1)), np.inf),
            order_gap=gap / np.sqrt(np.maximum(count / 2, 1)),
            influence=np.full((n, n), np.nan),
            disagreement=np.full((n, n), np.nan),
            age=turn - asked_at,
            num_observations=count,
        )
        values = arm.values(signals, SignalWeights(), rng)
        for pair in selector.pairs(values, JUDGEMENT_COST, JUDGEMENT_COST * (n * (n - 1) // 10)):
            answers = world.judge(pair)
            count[pair] += 2
            total[pair] += answers.sum()
            squares[pair] += (answers**2).sum()
            gap[pair], asked_at[pair] = abs(answers[0] - answers[1]), turn
            questions += JUDGEMENT_COST
        turn += 1
        if error_of(np.clip(total / np.maximum(count, 1), -1.0, 1.0), world.truth) < target:
            return questions
    return None


def held_error(world: DriftingWorld, arm: Arm, seed: int, looks: int) -> float:
    """Mean error of what is thought to be shown, with ``looks`` looks at pairs a checkpoint, after the warm-up."""
    n = len(world.shown)
    selector, rng = Selector(arm.policy, n, seed), np.random.default_rng([seed, 7])
    everything = np.nonzero(~np.eye(n, dtype=bool))
    seen = np.zeros((n, n))
    seen[everything] = world.look(everything)
    learned_then, step_then = world.learned(), np.zeros((n, n))
    errors = []
    for step in range(1, ROUNDS + 1):
        world.train()
        learned = world.learned()
        signals = EdgeSignals(
            standard_error=np.full((n, n), 0.02),  # of a fresh look: its weight is 0
            order_gap=np.full((n, n), np.nan),
            influence=world.influence,
            disagreement=np.abs(learned - (seen if arm.gap else learned_then)),
            age=step - step_then,
        )
        chosen = selector.pairs(arm.values(signals, FRESH_LOOK, rng), 1, looks)
        pairs = (np.array([i for i, _ in chosen]), np.array([j for _, j in chosen]))
        seen[pairs] = world.look(pairs)
        learned_then[pairs], step_then[pairs] = learned[pairs], step
        if step > WARM_UP:
            errors.append(error_of(seen, world.shown))
    return float(np.mean(errors))


def looks_needed(num_attributes: int, arm: Arm, seed: int, target: float) -> float | None:
    """Looks a checkpoint that hold the error at the target, between two numbers tried; None where no number does."""
    pairs = num_attributes * (num_attributes - 1)
    before: tuple[float, float] | None = None
    for looks in np.unique(np.geomspace(max(1, pairs // 256), pairs, 17).astype(int)):
        error = held_error(DriftingWorld(num_attributes, seed, arm.follows), arm, seed, int(looks))
        if error < target:
            if before is None:
                return float(looks)
            share = (np.log(before[1]) - np.log(target)) / (np.log(before[1]) - np.log(error))
            return float(np.exp((1.0 - share) * np.log(before[0]) + share * np.log(looks)))
        before = (float(looks), error)
    return None
