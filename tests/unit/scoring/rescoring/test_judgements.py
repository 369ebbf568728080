"""From answers about a directed pair to its edge: strength, sign, error, both orders, and what is never invented."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from gem_ray.errors import GraphError
from gem_ray.messages.graph import EdgeUpdate
from gem_ray.messages.questions import PairAspect, PairRequest, ScoreAnswer
from gem_ray.scoring.asking.prompts import missing
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value, hostile_answers, judge_of
from gem_ray.scoring.rescoring.judgements import FLOOR, judged_edge, order_gap, pair_requests

TRUTH = {("beard", "male"): 0.69, ("male", "beard"): 0.39, ("bangs", "bald"): -0.8, ("bald", "bangs"): -0.3}


def ask(source: str, target: str, wordings: int = 1, bias: float = 0.0) -> tuple[list[PairRequest], list[ScoreAnswer]]:
    requests = pair_requests(source, target, wordings)
    scorer = ScriptedScorer(lambda request: missing("no image was asked about"), judge=judge_of(TRUTH, bias))
    return list(requests), asyncio.run(scorer.score(requests))


def edge_of(answers: dict[PairAspect, list[ScoreAnswer]]) -> EdgeUpdate | None:
    """The edge of one wording: answers by aspect, source mentioned first, then target."""
    requests = pair_requests("a", "b", 1)
    return judged_edge("a", "b", requests, [answers[r.aspect][r.target_first] for r in requests])


def test_a_pair_is_asked_in_both_orders_and_both_aspects_of_every_wording() -> None:
    requests = pair_requests("beard", "male", 3)
    asked = {(request.aspect, request.target_first, request.wording) for request in requests}
    assert len(requests) == len(asked) == 12
    assert {(request.source, request.target) for request in requests} == {("beard", "male")}


def test_a_relation_to_itself_is_refused() -> None:
    with pytest.raises(GraphError, match="'male' on itself"):
        pair_requests("male", "male", 1)


@pytest.mark.parametrize(("source", "target"), [*TRUTH, ("male", "bangs")])
@pytest.mark.parametrize("wordings", [1, 3])
def test_true_relations_come_back_with_direction_and_sign(source: str, target: str, wordings: int) -> None:
    edge = judged_edge(source, target, *ask(source, target, wordings))
    assert edge is not None
    assert (edge.source, edge.target) == (source, target)
    assert edge.strength == pytest.approx(TRUTH.get((source, target), 0.0), abs=1e-6)
    assert edge.num_observations == 4 * wordings
    assert edge.standard_error >= FLOOR


@pytest.mark.parametrize("bias", [-1.5, -0.5, 0.5, 1.5])
def test_the_two_orders_cancel_a_position_bias_and_their_gap_shows_it(bias: float) -> None:
    for source, target in TRUTH:
        requests, answers = ask(source, target, 2, bias)
        edge, fair = (
            judged_edge(source, target, requests, answers),
            judged_edge(source, target, *ask(source, target, 2)),
        )
        assert edge is not None
        assert fair is not None
        assert edge.strength == pytest.approx(TRUTH[source, target], abs=0.01)
        one_order = next(answers[i].expectation for i, r in enumerate(requests) if r.aspect == "strength")
        assert one_order is not None
        assert abs(one_order / 5 - abs(TRUTH[source, target])) > 0.06  # what one order alone would have said
        gap, fair_gap = order_gap(source, target, requests, answers), order_gap(source, target, *ask(source, target, 2))
        assert gap is not None
        assert gap > 0.1
        assert fair_gap == pytest.approx(0.0, abs=1e-6)
        assert edge.standard_error > fair.standard_error


def test_strength_and_error_in_closed_form() -> None:
    strength = ScoreAnswer(probabilities=(0, 0, 0, 0.5, 0.5, 0), digit_mass=1.0)  # 0.7, variance 0.01
    sign = ScoreAnswer(probabilities=(0, 0.1, 0, 0, 0.9, 0), digit_mass=1.0)  # 0.9 - 0.1 = 0.8
    edge = edge_of({PairAspect.STRENGTH: [strength] * 2, PairAspect.SIGN: [sign] * 2})
    assert edge is not None
    assert edge.strength == pytest.approx(0.7 * 0.8)
    assert edge.standard_error == pytest.approx(np.sqrt(0.8**2 * 0.01 + 0.7**2 * (1 - 0.8**2) + FLOOR**2))


def test_orders_are_averaged_as_log_odds() -> None:
    sure = answer_of_value(1.0)
    edge = edge_of({PairAspect.STRENGTH: [answer_of_value(0.5), answer_of_value(0.9)], PairAspect.SIGN: [sure] * 2})
    assert edge is not None
    odds = np.sqrt(0.9 / 0.1)  # geometric mean of odds 1 and 9
    assert edge.strength == pytest.approx(odds / (1 + odds), abs=0.005)


def test_a_sign_that_is_undecided_leaves_no_strength_and_much_doubt() -> None:
    edge = edge_of({PairAspect.STRENGTH: [answer_of_value(0.8)] * 2, PairAspect.SIGN: [answer_of_value(0.5)] * 2})
    assert edge is not None
    assert edge.strength == pytest.approx(0.0, abs=1e-9)
    assert edge.standard_error == pytest.approx(np.hypot(0.8, FLOOR))


def test_wordings_that_disagree_raise_the_error_and_more_of_the_same_does_not_lower_it() -> None:
    def judge(request: PairRequest) -> ScoreAnswer:
        value = 1.0 if request.aspect is PairAspect.SIGN else (0.2, 0.8)[request.wording % 2]
        return answer_of_value(value)

    requests = pair_requests("a", "b", 2)
    apart = judged_edge("a", "b", requests, [judge(request) for request in requests])
    assert apart is not None
    assert apart.standard_error == pytest.approx(np.hypot(0.6 / 2, FLOOR))
    errors = [judged_edge("beard", "male", *ask("beard", "male", wordings)) for wordings in (1, 3)]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[1].standard_error == pytest.approx(errors[0].standard_error)


@pytest.mark.parametrize("lost", range(4))
def test_a_wording_with_a_missing_answer_is_left_out_and_nothing_is_made_of_half_a_question(lost: int) -> None:
    requests, answers = ask("beard", "male", 1)
    answers[lost] = missing("deadline")
    assert judged_edge("beard", "male", requests, answers) is None
    assert order_gap("beard", "male", requests, answers) is None
    requests, answers = ask("beard", "male", 2)
    answers[lost] = missing("deadline")
    edge = judged_edge("beard", "male", requests, answers)
    assert edge is not None
    assert edge.num_observations == 4
    assert edge.strength == pytest.approx(0.69, abs=1e-6)


def test_no_answers_give_no_edge() -> None:
    assert judged_edge("a", "b", (), ()) is None


@pytest.mark.parametrize("hostile", range(len(hostile_answers())))
def test_hostile_numbers_count_as_missing(hostile: int) -> None:
    requests, answers = ask("beard", "male", 1)
    assert judged_edge("beard", "male", requests, [hostile_answers()[hostile], *answers[1:]]) is None


def test_an_answer_about_another_pair_is_refused() -> None:
    requests, answers = ask("beard", "male", 1)
    with pytest.raises(GraphError, match="'beard' on 'male' was given for 'male' on 'beard'"):
        judged_edge("male", "beard", requests, answers)
    with pytest.raises(GraphError, match="3 answers to 4 questions"):
        judged_edge("beard", "male", requests, answers[:3])


def test_whatever_distributions_come_the_edge_stays_in_bounds() -> None:
    rng = np.random.default_rng(5)
    requests = pair_requests("a", "b", 2)
    for sharpness in (0.02, 0.3, 3.0):
        for _ in range(200):
            rows = rng.dirichlet(np.full(6, sharpness), len(requests))
            answers = [ScoreAnswer(probabilities=tuple(row), digit_mass=1.0) for row in rows.tolist()]
            edge = judged_edge("a", "b", requests, answers)
            assert edge is not None
            assert -1 <= edge.strength <= 1
            assert FLOOR <= edge.standard_error < 2
            assert 0 <= (order_gap("a", "b", requests, answers) or 0.0) <= 2
