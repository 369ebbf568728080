"""What to ask the MLLM next: a value for every directed pair, and a choice of attributes or pairs by a policy.

Pure numpy. A question about (image, attribute) informs every pair with the other attributes asked on that image, so
attributes are chosen as a set; a traversal or a judgement is about one pair, so pairs are chosen one by one. All arrays
are [n, n], indexed [source, target].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ConfigError, GraphError
from gem_ray.graph.layers import TYPICAL_STRENGTH, confidence_of

POLICIES = ("value", "round_robin", "uniform", "everything")
LEAST_SHARE = 0.1  # of the average number of answers, below which a pair gets no more valuable
TYPICAL_ANSWERS = 50.0


@dataclass(frozen=True, kw_only=True)
class EdgeSignals:
    """What is known about the need to ask; NaN where it is not.

    Args:
        standard_error: float64 >= 0 of the strength; infinite where there is no evidence
        order_gap: difference of the strengths judged in the two mention orders, in [0, 2]
        influence: mean |dLoss/dA| of training, in any unit
        disagreement: |learned strength - strength|, in [0, 2]
        age: since the evidence, in any unit; not finite where nothing was ever asked
        num_observations: images or answers behind the strength; None where nobody counts them

    Raises:
        GraphError: arrays that are not square or not of one shape
    """

    standard_error: NDArray[np.float64]
    order_gap: NDArray[np.float64]
    influence: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    age: NDArray[np.float64]
    num_observations: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        arrays = {signal.name: getattr(self, signal.name) for signal in fields(self)}
        shapes = {name: np.shape(array) for name, array in arrays.items() if array is not None}
        n = len(self.standard_error)
        if n < 2 or set(shapes.values()) != {(n, n)}:
            raise GraphError(f"edge signals must all be [n, n] with n of 2 or more, not {shapes}")


@dataclass(frozen=True, kw_only=True)
class SignalWeights:
    """How much each signal counts; the defaults are for evidence that gets better with every answer.

    Args:
        standard_error, order_gap, disagreement: share of the squared error that each signal estimates
        age: error that evidence of average age has gathered, as a share of the average
        influence: 0 asks without regard to the loss, 1 in proportion to the gradient
        num_observations: 1 where a further answer among N removes a share of about 1 / 2N of the error; 0 where it
            replaces the answers before
    """

    standard_error: float = 1.0
    order_gap: float = 1.0
    disagreement: float = 0.25
    age: float = 0.1
    influence: float = 0.5
    num_observations: float = 1.0


FRESH_LOOK = SignalWeights(standard_error=0.0, disagreement=1.0, age=2.0, num_observations=0.0)
"""For evidence that a new answer replaces (traversals, samples): a second look gains only what has changed since the
first. Age costs little where the learned weights tell that, and bounds the loss where they do not."""


def edge_values(signals: EdgeSignals, weights: SignalWeights = SignalWeights()) -> NDArray[np.float64]:
    """What a question about a pair is worth: the error it may remove, times how much the loss cares.

        error = sqrt(w_se t^2 se^2 / (t^2 + se^2) + w_gap (gap / 2)^2 + w_dis disagreement^2)
        value = (error + w_age mean(error) age / mean(age))
                * (mean(N) / N)^w_num * (1 - w_inf + w_inf influence / mean(influence))

    The first term is the posterior variance of a strength with prior N(0, t^2), t the typical strength: no evidence
    counts as t. The second is the variance of the mean of two answers that are ``gap`` apart. All three are in squared
    units of a strength; age and influence enter relative to their means, so their units do not matter. Where N is
    known, se^2 N is drawn to its mean over all pairs as if by ``TYPICAL_ANSWERS`` answers, since few answers that
    happen to agree would claim to be exact; an error that is still infinite after N answers is taken to be that mean.

    A signal that is not known counts as nothing (influence and N: as average). A pair that was never asked about comes
    before every other.

    Returns:
        float64 [n, n], finite and >= 0, with 0 on the diagonal
    """
    off_diagonal = ~np.eye(len(signals.standard_error), dtype=bool)
    finite_age = off_diagonal & np.isfinite(signals.age)
    asked = finite_age | (off_diagonal & np.isfinite(signals.standard_error))
    left_open = 1.0 - confidence_of(_steadied(signals.standard_error, signals.num_observations, asked))
    error = np.sqrt(
        weights.standard_error * TYPICAL_STRENGTH**2 * left_open
        + weights.order_gap * np.square(_known(signals.order_gap) / 2.0)
        + weights.disagreement * np.square(_known(signals.disagreement))
    )
    gathered = weights.age * (error[asked].mean() if asked.any() else 0.0)
    error = error + gathered * _relative(signals.age, finite_age, unknown=0.0)
    influence = _relative(signals.influence, off_diagonal & np.isfinite(signals.influence), unknown=1.0)
    care = 1.0 - weights.influence + weights.influence * influence
    values = np.where(asked, error * care, 0.0)
    if signals.num_observations is not None:
        share = _relative(signals.num_observations, asked, unknown=1.0)
        values *= np.maximum(share, LEAST_SHARE) ** -weights.num_observations
    first = (values.max() or TYPICAL_STRENGTH) * (1.0 + care)
    return np.asarray(np.where(asked, values, np.where(off_diagonal, first, 0.0)))


def _steadied(
    standard_error: NDArray[np.float64], num_observations: NDArray[np.integer] | None, asked: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Standard errors with the scatter of few answers drawn to that of the average pair."""
    error = _known(standard_error, np.inf)
    if num_observations is None:
        return error
    count = np.maximum(num_observations, 0).astype(np.float64)
    measured = asked & np.isfinite(error) & (count > 0)
    if not measured.any():
        return error
    own = np.where(measured, count, 0.0)
    scatter = own * np.square(np.where(measured, error, 0.0))
    steadied = (own * scatter + TYPICAL_ANSWERS * scatter[measured].mean()) / (own + TYPICAL_ANSWERS)
    return np.where(asked & (count > 0), np.sqrt(steadied / np.maximum(count, 1.0)), error)


def _known(signal: NDArray[np.floating], unknown: float = 0.0) -> NDArray[np.float64]:
    return np.where(np.isnan(signal), unknown, np.abs(np.asarray(signal, dtype=np.float64)))


def _relative(signal: NDArray[Any], known: NDArray[np.bool_], unknown: float) -> NDArray[np.float64]:
    """The signal over its mean where it is known."""
    mean = signal[known].mean() if known.any() else 0.0
    return np.where(known, signal, mean * unknown) / mean if mean > 0 else np.full(signal.shape, unknown)


class Selector:
    """Chooses by one policy for one kind of evidence; a pure function of its arguments and ``turn``.

    Args:
        policy: ``value`` takes what is worth most, ``round_robin`` one pair after the other, ``uniform`` draws,
            ``everything`` takes all, or as much as the budget allows in turn
        seed: of ``uniform``
        turn: where to go on; the ``turn`` of a former Selector resumes it exactly

    Raises:
        ConfigError: a policy that is not known
    """

    def __init__(self, policy: str, num_attributes: int, seed: int, turn: int = 0) -> None:
        if policy not in POLICIES:
            raise ConfigError(f"scoring.policy={policy!r} is not known; choose one of {', '.join(POLICIES)}")
        if num_attributes < 2:
            raise ConfigError(f"a choice among {num_attributes} attributes: a relation needs at least two")
        self.policy, self.num_attributes, self.seed, self.turn = policy, num_attributes, seed, turn
        self._pairs = [(i, j) for i in range(num_attributes) for j in range(num_attributes) if i != j]
        self._unordered = [(i, j) for i, j in self._pairs if i < j]

    def attributes(self, values: NDArray[np.float64], budget: int | None, cost_per_attribute: int) -> tuple[int, ...]:
        """Which attributes to ask about on every image of the next block.

        Args:
            values: [n, n] from ``edge_values``
            budget: questions that may be asked, None for no bound
            cost_per_attribute: questions of one attribute: images of the block times wordings

        Returns:
            two or more attributes, ascending; none where the budget does not reach, or nothing is worth asking
        """
        n = self.num_attributes
        limit = n if budget is None else min(n, budget // max(1, cost_per_attribute))
        if limit < 2:
            return ()
        if self.policy == "value":
            chosen = _densest(values + values.T, limit)
        elif self.policy == "everything":
            # A budget for fewer goes on where the last choice ended.
            chosen = list(range(n)) if limit == n else [(self.turn + k) % n for k in range(limit)]
            self.turn += 0 if limit == n else limit
        else:
            total = len(self._unordered)
            place = self.turn % total if self.policy == "round_robin" else int(self._draw().integers(total))
            chosen = list(self._unordered[place])
            self.turn += 1
        return tuple(sorted(chosen))

    def pairs(
        self, values: NDArray[np.float64], cost_per_pair: int, budget: int | None, cost_per_source: int = 0
    ) -> tuple[tuple[int, int], ...]:
        """Which directed pairs (source, target) to ask about, each by itself.

        Args:
            values: [n, n] from ``edge_values``
            cost_per_pair: questions of one pair
            budget: as above
            cost_per_source: questions that each different source costs once more

        Returns:
            different pairs, the most valuable first under ``value`` (which leaves out those worth nothing)
        """
        total = len(self._pairs)
        limit = total if budget is None else min(total, max(0, budget) // max(1, cost_per_pair))
        if self.policy == "value":
            worth = np.array([values[pair] for pair in self._pairs])
            order = [k for k in np.argsort(-worth, kind="stable")[:limit] if worth[k] > 0]
        elif self.policy == "uniform":
            order = list(self._draw().permutation(total)[:limit])
            self.turn += 1
        else:
            order = [(self.turn + k) % total for k in range(limit)]
        chosen = [self._pairs[k] for k in order]
        while budget is not None and chosen:
            if len(chosen) * cost_per_pair + len({source for source, _ in chosen}) * cost_per_source <= budget:
                break
            chosen.pop()
        if self.policy in ("round_robin", "everything"):  # by those that are asked: the cycle would skip the others
            self.turn += len(chosen)
        return tuple(chosen)

    def _draw(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.turn])


def _densest(weights: NDArray[np.float64], limit: int) -> list[int]:
    """A set of 2 to ``limit`` nodes with a large sum of weights [n, n] (symmetric) per node; none where all are 0.

    The best met while growing from the heaviest pair and while peeling the lightest node off the whole (Charikar 2000).
    """
    if not weights.any():
        return []
    candidates = [nodes for nodes in (*_growing(weights, limit), *_peeling(weights)) if 2 <= len(nodes) <= limit]
    return max(candidates, key=lambda nodes: weights[np.ix_(nodes, nodes)].sum() / len(nodes))


def _growing(weights: NDArray[np.float64], limit: int) -> Iterator[list[int]]:
    nodes = [int(k) for k in np.unravel_index(np.argmax(weights), weights.shape)]
    yield list(nodes)
    while len(nodes) < limit:
        gain = weights[nodes].sum(axis=0)
        gain[nodes] = -1.0
        nodes.append(int(np.argmax(gain)))
        yield list(nodes)


def _peeling(weights: NDArray[np.float64]) -> Iterator[list[int]]:
    nodes = list(range(len(weights)))
    while len(nodes) >= 2:
        yield list(nodes)
        nodes.pop(int(np.argmin(weights[np.ix_(nodes, nodes)].sum(axis=0))))
