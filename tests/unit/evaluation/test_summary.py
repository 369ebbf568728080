"""The summary: strict JSON, and a text that holds the numbers a person asks for."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from gem_ray.evaluation.facts import (
    CostFacts,
    GraphFacts,
    NodeFacts,
    QualityFacts,
    RelationFacts,
    RunFacts,
    ScoringFacts,
    Summary,
)
from gem_ray.evaluation.relations import RelationAgreement
from gem_ray.evaluation.summary import cost_words, duration, fidelity_words, format_summary, share

TOTAL = CostFacts(
    kind="all", pushes=0, edges=0, asked=3072, stored=96, failed=31, prompt_tokens=250_000, cached_tokens=200_000,
    seconds=75.0, money=1.25,
)  # fmt: skip


def make_summary() -> Summary:
    found = RelationAgreement(
        mean_absolute_difference=0.0412, max_absolute_difference=0.2, sign_agreement=0.95, direction_agreement=None
    )
    node = NodeFacts(
        name="male", kl_nats=1.5, active=True, change_alone=0.1, change_through_graph=0.2, match_strength=0.8,
        order_of_scores=0.85, true_correlation=0.7, order_of_truth=0.9, best_match="male",
    )  # fmt: skip
    edge = RelationFacts(
        source="male", target="beard", strength=0.39, standard_error=None, low=None, high=None, may_be_noise=True,
        confidence=0.9, observations="512 images", refined=0.4, sampled=None, sampled_standard_error=None,
        fidelity=None, shown=None, truth=0.4, questions=None, evidence="scan", changed_version=3, changed_step=-1,
    )  # fmt: skip
    return Summary(
        run=RunFacts(
            name="faces", uri="runs/faces", step=3000, steps=3000, epochs=19.7, training_s=4030.0,
            images_per_s=float("nan"), num_workers=2, parameters=1000, data_uri="data/faces", data_source="faces",
            num_images=20_000, num_held_out=512, image_size=64, device="CPU", versions={"torch": "2"},
        ),
        quality=QualityFacts(
            mse=0.005, psnr_db=23.456, ssim=0.81, explained=0.9, latent_dim=32, active_units=12, kl_nats=20.0,
            kl_per_latent=(1.5, 0.0), change_per_latent=(0.1, 0.0),
        ),
        nodes=(node, replace(node, name="beard", active=False, order_of_truth=None, order_of_scores=None)),
        graph=GraphFacts(
            version=3, digest="ab", known=0.5, num_found=1, agreement=found, refined_agreement=None,
            fidelity_gap=0.123, fidelity_noise=0.045, traversal_gap=0.2, relations=(edge,),
        ),
        scoring=ScoringFacts(
            model="nano", asked=3072, missing=31, images_scored=512, digit_mass=0.998, zero_rate=0.6,
            failure_rate=0.01, attributes=(), useful_changes=12, questions_per_useful_change=256.0, total=TOTAL,
            costs=(),
        ),
        mechanisms={"Adversarial term": "off"},
    )  # fmt: skip


def test_the_json_is_strict_and_what_is_no_number_is_null():
    content = json.loads(make_summary().to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["run"]["images_per_s"] is None
    assert content["graph"]["agreement"]["direction_agreement"] is None
    assert content["graph"]["relations"][0]["source"] == "male"
    assert content["quality"]["kl_per_latent"] == [1.5, 0.0]


def test_the_text_holds_what_a_person_asks_for_first():
    text = format_summary(make_summary())
    for part in (
        r"step 3,000 of 3,000",
        r"1 h 07 min",
        r"PSNR 23\.46 dB",
        r"SSIM 0\.810",
        r"12 of 32 latents active, 1 of 2 nodes",
        r"male 0\.90  beard \?",
        r"mean absolute difference 0\.041 of Somers' D",
        r"sign agreement 95\s%",
        r"direction agreement not known",
        r"0\.123 from the DisGraph",
        r"3,072 questions, 1\.01\s% missing, digit mass 0\.998",
        r"runs/faces/report\.html",
    ):
        assert re.search(part, text), part


def test_a_run_without_truth_or_mllm_says_nothing_about_them():
    summary = make_summary()
    graph = replace(summary.graph, agreement=None, refined_agreement=None, fidelity_gap=None)
    text = format_summary(replace(summary, graph=graph, scoring=None))
    assert "truth" not in text
    assert "MLLM" not in text


def test_no_question_asked_divides_by_nothing():
    summary = make_summary()
    assert summary.scoring is not None
    none_asked = replace(summary.scoring, asked=0, missing=0, digit_mass=None, total=None)
    assert "0 questions, none missing" in format_summary(replace(summary, scoring=none_asked))


def test_fidelity_is_told_beside_what_chance_would_do():
    words = fidelity_words(make_summary().graph)
    assert "0.123 from the DisGraph" in words
    assert "0.045, by chance" in words


def test_what_questions_cost_is_told_in_tokens_time_money_and_use():
    scoring = make_summary().scoring
    assert scoring is not None
    words = cost_words(scoring).replace("\N{NO-BREAK SPACE}", " ")
    assert words == (
        "250,000 tokens (80 % of them cached), 1 min 15 s, 96 answers from the store, 1.25 by the configured prices, "
        "256 questions per useful change"
    )
    assert cost_words(replace(scoring, total=None)) == "not known"
    free = replace(TOTAL, prompt_tokens=0, cached_tokens=0, money=0.0)
    assert "prices" not in cost_words(replace(scoring, total=free, questions_per_useful_change=None))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (3599.7, "1 h 00 min"), (90_000, "25 h 00 min")],
)
def test_durations_are_written_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "not known"), (float("nan"), "not known"), (1.0, "100 %"), (0.3333, "33.3 %")]
)
def test_shares_are_written_as_percentages(value, text):
    assert share(value).replace("\N{NO-BREAK SPACE}", " ") == text
