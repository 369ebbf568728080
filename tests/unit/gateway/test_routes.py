"""What every route answers, by HTTP, over a real store and a scripted scorer."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gem_ray.graph.relations import relations_from_scores
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from tests.unit.gateway.small_gateway import ATTRIBUTES, brightness, code_of, encoded, png, push, score


def test_an_image_is_scored_for_the_attributes_that_are_named(setting):
    response = score(setting)
    assert response.status_code == 200
    scores = response.json()["scores"]
    assert [entry["attribute"] for entry in scores] == ["male", "bangs"]
    assert [entry["score"] for entry in scores] == [5.0, 0.0]
    assert scores[0] == {
        "attribute": "male",
        "score": 5.0,
        "probabilities": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        "digit_mass": 1.0,
        "failure": None,
    }


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_may_be_the_body_itself(setting, kind):
    image = encoded(Image.new("RGB", (40, 24), "white"), kind)
    response = setting.client.post(
        "/score?attributes=male&attributes=beard", content=image, headers={"Content-Type": f"image/{kind.lower()}"}
    )
    assert [entry["score"] for entry in response.json()["scores"]] == [5.0, 5.0]
    assert {(request.height, request.width) for request in setting.scorer.asked} == {(16, 16)}


def test_scores_are_calibrated_where_the_run_calibrates(make_setting):
    def biased(request: ScoreRequest) -> ScoreAnswer:
        grey = set(request.image) == {128}
        bias, honest = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.5])
        p = bias if grey else honest * bias / (honest * bias).sum()
        return ScoreAnswer(probabilities=tuple(p.tolist()), digit_mass=1.0)

    plain, calibrated = (score(make_setting(biased, calibrate=on)).json()["scores"][0] for on in (False, True))
    assert plain["probabilities"][5] == pytest.approx(0.36, abs=0.01)
    assert calibrated["probabilities"] == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1, 0.5], abs=1e-4)


def test_without_names_the_attributes_of_the_graph_are_scored(setting):
    response = score(setting, data={})
    assert [entry["attribute"] for entry in response.json()["scores"]] == list(ATTRIBUTES)


def test_an_answer_names_the_model_it_is_from(make_setting):
    setting = make_setting(answer=lambda request: replace(brightness(request), model="nano-123"))
    assert score(setting).json()["model"] == "nano-123"


def test_answers_of_two_models_are_not_mixed(make_setting):
    setting = make_setting(answer=lambda request: replace(brightness(request), model=request.attribute))
    response = score(setting)
    assert (response.status_code, code_of(response)) == (503, "model_changing")
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "bad",
    [
        ScoreAnswer(probabilities=None, digit_mass=0.2, failure="low_digit_mass"),
        ScoreAnswer(probabilities=(math.nan,) * 6, digit_mass=1.0),
        ScoreAnswer(probabilities=(1e9, 0, 0, 0, 0, 0), digit_mass=1.0),
        ScoreAnswer(probabilities=(1, 0, 0, 0, 0, 0), digit_mass=math.inf),
        ScoreAnswer(probabilities=(1.0,), digit_mass=1.0),
    ],
)
def test_an_answer_that_cannot_be_used_is_null_with_a_reason_and_never_a_zero(make_setting, bad):
    scores = score(make_setting(answer=lambda request: bad)).json()["scores"]
    assert [(entry["score"], entry["probabilities"]) for entry in scores] == [(None, None)] * 2
    assert all(entry["failure"] for entry in scores)


def test_relations_of_images_are_somers_d_of_their_scores(setting):
    files = [("image", png(value)) for value in (0, 50, 100, 150, 200, 250)]
    response = setting.client.post("/relations", files=files, data={"attributes": ["male", "bangs"]})
    assert response.status_code == 200
    table = response.json()
    assert (table["basis"], table["num_images"], table["missing"], table["version"]) == ("images", 6, 0, None)
    requests = setting.scorer.asked
    probabilities = np.array([brightness(request).probabilities for request in requests]).reshape(6, 2, 6)
    expected = relations_from_scores(probabilities, "expected_table")
    assert table["relations"][0]["strength"] == pytest.approx(expected.strength[0, 1])
    assert table["relations"][0]["strength"] < -0.7
    assert table["relations"][1]["standard_error"] == pytest.approx(expected.standard_error[1, 0])


def test_relations_of_images_without_any_answer_are_of_no_confidence(make_setting):
    setting = make_setting(answer=lambda request: ScoreAnswer(probabilities=None, digit_mass=0.0, failure="no_digit"))
    files = [("image", png(value)) for value in (0, 250)]
    table = setting.client.post("/relations", files=files, data={"attributes": ["male", "bangs"]}).json()
    assert table["missing"] == 4
    assert [(entry["standard_error"], entry["confidence"]) for entry in table["relations"]] == [(None, 0.0)] * 2


def test_relations_of_names_are_those_of_the_graph(setting):
    push(setting.store, 1, 0.6)
    table = setting.client.post("/relations", json={"attributes": ["beard", "male"]}).json()
    assert (table["basis"], table["version"], table["model"]) == ("graph", 1, None)
    assert [(entry["source"], entry["target"]) for entry in table["relations"]] == [
        ("beard", "male"),
        ("male", "beard"),
    ]
    assert table["relations"][1]["strength"] == 0.6
    assert table["relations"][1]["num_observations"] == 100
    assert table["relations"][0]["standard_error"] is None
    assert len(setting.client.post("/relations", json={}).json()["relations"]) == 6
    assert setting.scorer.asked == []


def test_the_graph_is_given_whole_and_by_version(setting):
    for number in range(1, 6):
        push(setting.store, number, number / 10)
    newest = setting.client.get("/graph").json()
    assert (newest["version"], newest["attributes"]) == (5, list(ATTRIBUTES))
    assert newest["strength"][0][1] == 0.5
    assert newest["standard_error"][1][0] is None
    assert newest["evidence"]["judgements"][0][1] is None
    for version in (0, 1, 2, 3, 4, 5):
        graph = setting.client.get("/graph", params={"version": version}).json()
        assert (graph["version"], graph["strength"][0][1]) == (version, version / 10)


def test_an_edge_is_given_with_its_history_and_its_evidence(setting):
    record = {
        "kind": "scores",
        "model": "nano-1",
        "attributes": list(ATTRIBUTES),
        "strength": [[0, 0.25, 0], [0, 0, 0], [0, 0, 0]],
        "scores": {"uri": "/a/path/of/the/server"},
        "expectations": [[1.0] * 100],
        "cost": {"asked": 600},
        "digit_mass": math.nan,
    }
    setting.run.write_bytes("evidence/scores-2.json", json.dumps(record).encode())
    setting.run.write_bytes("evidence/scores-1.json", b"not JSON")
    push(setting.store, 1, 0.5)
    push(setting.store, 2, 0.25)
    push(setting.store, 3, 0.75, evidence_id="../../secret")
    edge = setting.client.get("/graph/edges/male/beard").json()
    assert edge == setting.client.get("/graph/edges/0/1").json()
    assert (edge["source"], edge["target"], edge["version"], edge["strength"]) == ("male", "beard", 3, 0.75)
    assert [change["strength"] for change in edge["history"]] == [0.5, 0.25, 0.75]
    assert edge["kinds"]["scores"]["num_observations"] == 100
    assert edge["kinds"]["samples"]["value"] is None
    assert [entry["id"] for entry in edge["evidence"]] == ["../../secret", "scores-2.json", "scores-1.json"]
    assert edge["evidence"][0] == {"id": "../../secret", "unreadable": True, "cost": None}
    assert edge["evidence"][1] == {
        "id": "scores-2.json",
        "kind": "scores",
        "model": "nano-1",
        "strength": 0.25,
        "cost": {"asked": 600},
        "digit_mass": None,
    }
    assert "/a/path" not in json.dumps(edge)


def test_the_openapi_document_describes_every_route_and_the_token(setting):
    document = setting.client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/score", "/relations", "/graph", "/graph/edges/{i}/{j}", "/healthz"}
    assert set(document["paths"]["/score"]["post"]["requestBody"]["content"]) >= {"multipart/form-data", "image/png"}
    assert document["paths"]["/graph"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert {"401", "413", "415", "422", "429", "503"} <= set(document["paths"]["/score"]["post"]["responses"])
