"""What is asked next: values that follow the signals, and choices that are the best, fair, or repeatable."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from gem_ray.errors import ConfigError, GraphError
from gem_ray.scoring.choosing.selection import (
    FRESH_LOOK,
    POLICIES,
    EdgeSignals,
    Selector,
    SignalWeights,
    edge_values,
)

N = 5


def make_signals(n: int = N, **arrays: np.ndarray) -> EdgeSignals:
    known = {
        "standard_error": np.full((n, n), 0.1),
        "order_gap": np.full((n, n), 0.1),
        "influence": np.ones((n, n)),
        "disagreement": np.full((n, n), 0.1),
        "age": np.ones((n, n)),
        "num_observations": np.full((n, n), 50),
    }
    return EdgeSignals(**(known | arrays))


def with_edge(base: float, edge: float) -> np.ndarray:
    array = np.full((N, N), base)
    array[1, 3] = edge
    return array


def random_values(seed: int, n: int = N) -> np.ndarray:
    values = np.random.default_rng(seed).exponential(size=(n, n)) ** 2
    np.fill_diagonal(values, 0.0)
    return values


def best(values: np.ndarray) -> tuple[int, int]:
    i, j = np.unravel_index(np.argmax(values), values.shape)
    return int(i), int(j)


@pytest.mark.parametrize(
    ("signal", "base", "edge"),
    [
        ("standard_error", 0.1, 0.2),
        ("order_gap", 0.1, 0.4),
        ("influence", 1.0, 3.0),
        ("disagreement", 0.1, 0.3),
        ("age", 1.0, 9.0),
        ("num_observations", 50.0, 20.0),
    ],
)
def test_each_signal_by_itself_makes_its_pair_the_most_valuable(signal: str, base: float, edge: float) -> None:
    values = edge_values(make_signals(**{signal: with_edge(base, edge)}))
    assert best(values) == (1, 3)
    others = values[~np.eye(N, dtype=bool) & (values != values[1, 3])]
    np.testing.assert_allclose(others, others[0])
    assert values[1, 3] > others[0] > 0


def test_a_signal_without_weight_changes_nothing() -> None:
    no_weight = SignalWeights(standard_error=0, order_gap=1, disagreement=0, age=0, influence=0, num_observations=0)
    plain = edge_values(make_signals(), no_weight)
    for signal in ("standard_error", "disagreement", "age", "influence", "num_observations"):
        np.testing.assert_allclose(edge_values(make_signals(**{signal: with_edge(1.0, 7.0)}), no_weight), plain)
    assert best(edge_values(make_signals(order_gap=with_edge(0.1, 0.2)), no_weight)) == (1, 3)


def test_values_are_those_of_the_formula_computed_by_hand() -> None:
    signals = make_signals(
        n=2,
        standard_error=np.array([[0, 0.3], [0.4, 0]]),
        order_gap=np.array([[0, 0.2], [0.0, 0]]),
        disagreement=np.array([[0, 0.4], [0.0, 0]]),
        age=np.array([[0, 1.0], [3.0, 0]]),
        influence=np.array([[0, 1.0], [4.0, 0]]),
        num_observations=np.array([[0, 100], [300, 0]]),
    )
    # Scatter 100 * .09 = 9 and 300 * .16 = 48, mean 28.5; each drawn to the mean by 50 answers.
    squares = [(100 * 9 + 50 * 28.5) / 150 / 100, (300 * 48 + 50 * 28.5) / 350 / 300]
    first, second = (0.09 * square / (0.09 + square) for square in squares)  # the posterior variance with t = .3
    first, second = np.sqrt(first + 0.01 + 0.25 * 0.16), np.sqrt(second)
    mean = (first + second) / 2
    expected = [
        (first + 0.1 * mean * 0.5) * (0.5 + 0.5 * 0.4) * 2,
        (second + 0.1 * mean * 1.5) * (0.5 + 0.5 * 1.6) / 1.5,
    ]
    values = edge_values(signals)
    np.testing.assert_allclose([values[0, 1], values[1, 0]], expected)
    assert not np.diag(values).any()


def test_units_of_age_and_influence_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.exponential(size=(N, N)) for name in ("influence", "age")}
    other = {name: 1000.0 * array for name, array in arrays.items()}
    np.testing.assert_allclose(edge_values(make_signals(**arrays)), edge_values(make_signals(**other)))


@pytest.mark.parametrize("weights", [SignalWeights(), FRESH_LOOK])
def test_pairs_never_asked_about_come_first_and_all_values_are_finite(weights: SignalWeights) -> None:
    rng = np.random.default_rng(1)
    asked = rng.random((N, N)) < 0.6
    signals = EdgeSignals(
        standard_error=np.where(asked, rng.exponential(size=(N, N)), np.inf),
        order_gap=np.where(asked, 2.0, np.nan),
        influence=np.where(rng.random((N, N)) < 0.5, rng.exponential(size=(N, N)), np.nan),
        disagreement=np.where(asked, rng.random((N, N)), np.nan),
        age=np.where(asked, 10.0 * rng.random((N, N)), np.inf),
        num_observations=np.where(asked, 30, 0),
    )
    values = edge_values(signals, weights)
    off_diagonal = ~np.eye(N, dtype=bool)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert values[~asked & off_diagonal].min() > values[asked & off_diagonal].max()


def test_a_pair_that_was_asked_in_vain_does_not_come_before_those_never_asked() -> None:
    age = np.ones((N, N))
    age[2, 4] = np.nan
    error = with_edge(0.1, np.inf)
    error[2, 4] = np.inf
    values = edge_values(make_signals(standard_error=error, age=age))
    assert best(values) == (2, 4)
    # An attribute that no image shows has an infinite error for ever; it must not draw every question to itself.
    assert values[1, 3] == pytest.approx(values[0, 1])
    few = edge_values(make_signals(standard_error=error, age=age, num_observations=with_edge(50, 10)))
    assert few[1, 3] > few[0, 1]


def test_without_a_count_a_pair_asked_in_vain_counts_as_quite_unknown() -> None:
    signals = replace(make_signals(standard_error=with_edge(0.1, np.inf)), num_observations=None)
    only_error = SignalWeights(order_gap=0, disagreement=0, age=0, influence=0, num_observations=0)
    assert edge_values(signals, only_error)[1, 3] == pytest.approx(0.3)


def test_a_small_error_of_few_answers_is_not_believed() -> None:
    lucky = with_edge(0.1, 0.001)
    only_error = SignalWeights(order_gap=0, disagreement=0, age=0, influence=0)
    few = edge_values(make_signals(standard_error=lucky, num_observations=with_edge(500, 5)), only_error)
    many = edge_values(make_signals(standard_error=lucky, num_observations=np.full((N, N), 500)), only_error)
    assert best(few) == (1, 3)
    assert many[1, 3] == many[~np.eye(N, dtype=bool)].min()


def test_nothing_known_at_all_makes_every_pair_worth_the_same() -> None:
    unknown = np.full((N, N), np.nan)
    signals = EdgeSignals(
        standard_error=np.full((N, N), np.inf), order_gap=unknown, influence=unknown, disagreement=unknown, age=unknown
    )
    values = edge_values(signals)[~np.eye(N, dtype=bool)]
    assert values.min() == values.max() > 0


def test_a_fresh_look_at_a_pair_that_has_not_moved_is_worth_less_than_at_one_that_has() -> None:
    moved = make_signals(standard_error=with_edge(0.1, 0.3), disagreement=with_edge(0.2, 0.0))
    values = edge_values(moved, FRESH_LOOK)
    assert values[1, 3] == values[~np.eye(N, dtype=bool)].min()
    assert best(edge_values(moved)) == (1, 3)  # of scores, more answers would make it better


def test_signals_of_different_shapes_are_refused() -> None:
    with pytest.raises(GraphError, match=r"must all be \[n, n\]"):
        make_signals(age=np.zeros((N, N - 1)))
    with pytest.raises(GraphError, match="2 or more"):
        make_signals(n=1)


@pytest.mark.parametrize("limit", [2, 3, 4, 8])
def test_the_set_of_attributes_is_nearly_the_best_of_all_sets(limit: int) -> None:
    shares = []
    for seed in range(20):
        values = random_values(seed, 8)
        chosen = Selector("value", 8, 0).attributes(values, limit * 10, 10)

        def worth(nodes: tuple[int, ...], values: np.ndarray = values) -> float:
            return float(values[np.ix_(nodes, nodes)].sum() / len(nodes))

        optimum = max(worth(nodes) for size in range(2, limit + 1) for nodes in combinations(range(8), size))
        assert 2 <= len(chosen) <= limit
        shares.append(worth(chosen) / optimum)
    assert min(shares) > 0.8
    assert np.mean(shares) > 0.97


def test_attributes_that_matter_to_nobody_are_not_asked_about() -> None:
    values = np.zeros((6, 6))
    values[np.ix_([0, 2, 5], [0, 2, 5])] = 1.0 - np.eye(3)
    assert Selector("value", 6, 0).attributes(values, None, 16) == (0, 2, 5)


def test_all_attributes_are_asked_about_where_all_pairs_are_worth_the_same() -> None:
    assert Selector("value", 6, 0).attributes(1.0 - np.eye(6), None, 16) == tuple(range(6))


@pytest.mark.parametrize("policy", POLICIES)
def test_no_choice_costs_more_than_its_budget(policy: str) -> None:
    selector = Selector(policy, N, 0)
    for budget in (0, 9, 19, 20, 35, 50, 1000):
        chosen = selector.attributes(random_values(budget), budget, 10)
        assert len(chosen) * 10 <= budget
        assert len(set(chosen)) == len(chosen) != 1
        assert bool(chosen) == (budget >= 20)
        assert len(selector.pairs(random_values(budget), 4, budget)) <= budget // 4


@pytest.mark.parametrize("policy", ["value"])
def test_nothing_is_asked_where_nothing_is_worth_asking(policy: str) -> None:
    assert Selector(policy, N, 0).attributes(np.zeros((N, N)), None, 1) == ()
    assert Selector(policy, N, 0).pairs(np.zeros((N, N)), 1, None) == ()


def test_value_takes_the_pairs_that_are_worth_most_in_order() -> None:
    values = random_values(3)
    chosen = Selector("value", N, 0).pairs(values, 4, 22)
    assert [values[pair] for pair in chosen] == sorted(values[~np.eye(N, dtype=bool)], reverse=True)[:5]


@pytest.mark.parametrize("policy", ["round_robin", "everything"])
def test_pairs_in_turn_are_each_asked_once_before_any_is_asked_again(policy: str) -> None:
    selector = Selector(policy, N, 0)
    taken = [pair for _ in range(12) for pair in selector.pairs(random_values(0), 1, 5)]
    cycle = N * (N - 1)
    assert len(set(taken[:cycle])) == cycle
    assert taken[cycle : 2 * cycle] == taken[:cycle]
    assert len(taken) == 60


def test_round_robin_over_attributes_visits_every_pair_of_them_in_turn() -> None:
    selector = Selector("round_robin", N, 0)
    taken = [selector.attributes(random_values(0), None, 1) for _ in range(20)]
    assert sorted(taken[:10]) == list(combinations(range(N), 2))
    assert taken[10:] == taken[:10]


def test_everything_takes_all_and_goes_on_in_turn_where_the_budget_is_small() -> None:
    assert Selector("everything", N, 0).attributes(random_values(0), None, 3) == tuple(range(N))
    selector = Selector("everything", N, 0)
    asked = [selector.attributes(random_values(0), 9, 3) for _ in range(5)]
    assert asked[:2] == [(0, 1, 2), (0, 3, 4)]
    assert np.bincount(np.concatenate(asked)).tolist() == [3] * N


def test_uniform_draws_every_pair_about_equally_often() -> None:
    selector = Selector("uniform", N, 0)
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(2000):
        pair = selector.attributes(random_values(0), None, 1)
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 10
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260
    assert len(set(selector.pairs(random_values(0), 1, 12))) == 12


@pytest.mark.parametrize("policy", POLICIES)
def test_a_selector_resumed_at_its_turn_goes_on_exactly(policy: str) -> None:
    def choose(selector: Selector, start: int, stop: int) -> list[tuple[object, ...]]:
        return [
            (*selector.attributes(random_values(k), 40, 10), *selector.pairs(random_values(k), 3, 10))
            for k in range(start, stop)
        ]

    whole = choose(Selector(policy, N, 7), 0, 8)
    first = Selector(policy, N, 7)
    halves = choose(first, 0, 3)
    halves += choose(Selector(policy, N, 7, turn=first.turn), 3, 8)
    assert halves == whole


def test_another_seed_draws_otherwise() -> None:
    draws = [[Selector("uniform", N, seed, turn=k).pairs(random_values(0), 1, 4) for k in range(5)] for seed in (0, 1)]
    assert draws[0] != draws[1]


def test_a_policy_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'best' is not known; choose one of value"):
        Selector("best", N, 0)
    with pytest.raises(ConfigError, match="at least two"):
        Selector("value", 1, 0)


def test_weights_can_be_changed_one_by_one() -> None:
    signals = make_signals(influence=with_edge(1.0, 100.0))
    assert np.ptp(edge_values(signals, replace(SignalWeights(), influence=0.0))[~np.eye(N, dtype=bool)]) < 1e-12
