"""Which model is behind an application, where its files may be on other machines only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gem_ray.config import ScoringConfig
from gem_ray.scoring.asking.model_files import model_fingerprint
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.serving import application
from gem_ray.scoring.serving.application import served_fingerprint

HUB = ScoringConfig(model="org/vlm")


@pytest.fixture
def replica(tmp_path, monkeypatch: pytest.MonkeyPatch) -> ScriptedScorer:
    """A replica with a revision of the hub's model that this machine does not have."""
    scorer = ScriptedScorer(lambda _: replace(answer_of_value(0.5), model="org/vlm-ffffffffffffffff"))
    monkeypatch.setattr(application, "ServeScorer", lambda *_: scorer)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return scorer


def test_a_model_in_a_folder_is_known_without_a_question(replica):
    assert served_fingerprint(ScoringConfig(), "app") == model_fingerprint("nano")
    assert replica.asked == []


def test_a_model_of_the_hub_says_itself_which_revision_it_is(replica):
    assert served_fingerprint(HUB, "app") == "org/vlm-ffffffffffffffff"
    assert len(replica.asked) == 1


def test_without_an_answer_the_hub_id_stands_for_the_model(replica, monkeypatch, caplog):
    monkeypatch.setattr(application, "ServeScorer", lambda *_: ScriptedScorer(answer_of_value, fail=lambda _: True))
    assert served_fingerprint(HUB, "app") == "org/vlm"
    assert "did not say which revision of org/vlm it is" in caplog.text
