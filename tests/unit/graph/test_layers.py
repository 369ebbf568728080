"""Layers: evidence kept as it came, and two of them combined by precision."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gem_ray.graph.layers import TYPICAL_STRENGTH, Layer, combined, confidence_of


def make_layer(value: float, error: float, n: int = 2) -> Layer:
    """Evidence about edge (0, 1) only."""
    return Layer.unknown(n).updated([(0, 1, value, error, 7)], version=3, step=-1, evidence_id="e.json")


def combine(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    value, error = combined(make_layer(*first), make_layer(*second))
    return float(value[0, 1]), float(error[0, 1])


def test_update_changes_the_edges_it_names_and_no_other():
    before = Layer.unknown(3)
    after = before.updated([(0, 1, 0.5, 0.1, 9), (2, 0, -0.2, math.inf, 0)], version=4, step=70, evidence_id="a.json")
    facts = [(after.value[e], after.standard_error[e], after.num_observations[e]) for e in ((0, 1), (2, 0))]
    assert facts == [(0.5, 0.1, 9), (-0.2, math.inf, 0)]
    assert (after.version[0, 1], after.step[0, 1], after.evidence[0][1]) == (4, 70, "a.json")
    assert np.isnan(after.value).sum() == 7
    assert np.isnan(before.value).all()
    with pytest.raises(ValueError, match="read-only"):
        after.value[0, 1] = 0


def test_two_values_are_weighed_by_their_precision():
    rng = np.random.default_rng(0)
    for _ in range(500):
        (v, w), (a, b) = rng.uniform(-1, 1, 2), np.exp(rng.normal(-2, 2, 2))
        value, error = combine((v, a), (w, b))
        assert value == pytest.approx((v / a**2 + w / b**2) / (1 / a**2 + 1 / b**2), abs=1e-12)
        assert error == pytest.approx(1 / math.sqrt(1 / a**2 + 1 / b**2), rel=1e-12)


@pytest.mark.parametrize("error", [0.0, 1e-300, 0.1 + 0.2, 1e200])
def test_evidence_that_says_nothing_changes_no_bit(error):
    alone = (0.1 + 0.2, error)
    assert combine(alone, (-1.0, math.inf)) == alone
    assert combine((-1.0, math.inf), alone) == alone
    value, standard_error = combined(make_layer(*alone), Layer.unknown(2))
    assert (value[0, 1], standard_error[0, 1]) == alone
    value, standard_error = combined(Layer.unknown(2), make_layer(*alone))
    assert (value[0, 1], standard_error[0, 1]) == alone


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0.2, 0.0), (0.9, 0.1), (0.2, 0.0)),
        ((0.2, 0.0), (0.4, 0.0), (0.3, 0.0)),
        ((0.2, math.inf), (0.4, math.inf), (0.2, math.inf)),
        ((0.2, 1e-200), (0.4, 1e200), (0.2, 1e-200)),
    ],
)
def test_extreme_errors_neither_overflow_nor_lose_the_answer(first, second, expected):
    assert combine(first, second) == pytest.approx(expected)


def test_no_evidence_at_all_is_no_relation_with_an_infinite_error():
    value, error = combined(Layer.unknown(2), Layer.unknown(2))
    assert not value.any()
    assert np.isinf(error).all()


def test_order_of_the_layers_does_not_matter():
    rng = np.random.default_rng(1)
    for _ in range(200):
        pairs = [(float(v), float(e)) for v, e in zip(rng.uniform(-1, 1, 2), rng.exponential(size=2))]
        assert combine(*pairs) == combine(*reversed(pairs))


def test_content_survives_and_names_what_it_lacks():
    layer = make_layer(0.1 + 0.2, math.inf)
    again = Layer.from_content(layer.to_content())
    assert again.to_content() == layer.to_content()
    with pytest.raises(KeyError, match="step"):
        Layer.from_content({k: v for k, v in layer.to_content().items() if k != "step"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"value": np.full((2, 2), 2.0)}, "not in"),
        ({"value": np.zeros((2, 2))}, "itself"),
        ({"standard_error": np.full((2, 2), np.nan)}, "standard error"),
        ({"standard_error": np.full((2, 2), 0.1)}, "no value"),
        ({"step": np.full((2, 2), -2)}, "step"),
        ({"value": np.full((3, 3), np.nan)}, "shape"),
        ({"evidence": (("", ""),)}, "rows"),
    ],
)
def test_broken_rule_is_named(change, fault):
    assert make_layer(0.5, 0.1).fault(2) is None
    assert fault in replace(make_layer(0.5, 0.1), **change).fault(2)


def test_confidence_falls_as_the_error_grows():
    errors = np.array([0, 0.01, 0.1, TYPICAL_STRENGTH, 1, np.inf])
    confidence = confidence_of(errors)
    assert (np.diff(confidence) < 0).all()
    assert (confidence[0], confidence[3], confidence[-1]) == (1, 0.5, 0)
