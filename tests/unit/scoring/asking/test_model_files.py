"""Models that do not exist, and what tells two models apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gem_ray.config import ScoringConfig
from gem_ray.errors import ConfigError, ScorerError
from gem_ray.scoring.asking.model_files import (
    NANO_FOLDER,
    check_questions,
    model_fingerprint,
    prompt_style,
    resolve_model,
    unfit_for,
)
from gem_ray.scoring.asking.prompts import PromptStyle
from gem_ray.scoring.checking.checks import checks_of
from serve.app import builder


def test_a_path_that_does_not_exist_is_refused_with_value_and_remedy() -> None:
    with pytest.raises(ScorerError, match=r"'/nowhere/model' does not exist .*give 'nano'"):
        resolve_model("/nowhere/model")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScorerError, match=r"no config\.json"):
        resolve_model(str(tmp_path))


def test_a_hub_id_is_left_to_vllm() -> None:
    assert resolve_model("Qwen/Qwen2.5-VL-3B-Instruct") == "Qwen/Qwen2.5-VL-3B-Instruct"


@pytest.mark.parametrize("model", ["", "http://host/model", "a/b/c", "no such model"])
def test_what_is_neither_folder_nor_hub_id_is_refused(model: str) -> None:
    with pytest.raises(ScorerError, match=r"scoring\.model"):
        resolve_model(model)


def test_the_shipped_model_is_found_and_asked_in_its_own_words() -> None:
    assert resolve_model("nano") == str(NANO_FOLDER.resolve())
    assert prompt_style(resolve_model("nano")) is PromptStyle.NANO


def test_other_models_are_asked_through_their_chat_template(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    assert prompt_style(str(tmp_path)) is PromptStyle.CHAT


def test_a_model_with_other_weights_has_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 1000)
    before = model_fingerprint(str(tmp_path))
    assert before == model_fingerprint(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 999 + b"\1")
    assert model_fingerprint(str(tmp_path)) != before


def test_the_shipped_serve_config_builds_and_opens_no_port_to_others() -> None:
    config = yaml.safe_load((Path(__file__).parents[4] / "serve/config.yaml").read_text())
    assert (config["proxy_location"], config["http_options"]["host"]) == ("Disabled", "127.0.0.1")
    (application,) = config["applications"]
    assert application["route_prefix"] is None
    assert application["import_path"] == "serve.app:builder"
    assert builder(application["args"]) is not None


def test_the_serve_builder_reads_text_and_refuses_unknown_and_mistyped_options() -> None:
    assert builder({"model": "nano", "num_cpus": "2", "max_ongoing_requests": "4"}) is not None
    with pytest.raises(ConfigError, match="unknown option modle='nano'"):
        builder({"modle": "nano"})
    with pytest.raises(ConfigError, match="max_replicas='many' is not of type int"):
        builder({"max_replicas": "many"})
    with pytest.raises(ScorerError, match="does not exist"):
        builder({"model": "/nowhere"})


def test_the_nano_model_is_shipped_with_checks_of_the_very_files_that_are_shipped():
    found = {check.source: check for check in checks_of(model_fingerprint("nano"), NANO_FOLDER, None)}
    assert set(found) == {"faces", "data/sfhq_t2i"}
    assert found["faces"].at_chance == ()
    assert set(found["data/sfhq_t2i"].at_chance) == {"bald", "male", "beard", "makeup"}


def test_the_nano_model_is_called_unfit_for_photographs_and_not_for_drawn_faces():
    assert unfit_for("nano", "faces") is None
    warning = unfit_for("nano", "photos.zip", ["beard", "blond"])
    assert warning is not None
    assert "told beard no better than by chance" in warning
    assert "scoring.model=" in warning
    assert unfit_for("nano", "photos.zip", ["blond", "smiling"]) is None


def test_of_a_model_that_was_never_checked_nothing_is_said():
    assert unfit_for("org/capable-vlm", "photos.zip") is None


def test_questions_that_the_shipped_model_cannot_be_asked_are_refused_by_name() -> None:
    check_questions(ScoringConfig())
    check_questions(ScoringConfig(model="someone/chat-model", wordings=3, judgements=True))
    with pytest.raises(ConfigError, match=r"scoring\.wordings=2: nano can be asked in 1"):
        check_questions(ScoringConfig(wordings=2))
    with pytest.raises(ConfigError, match=r"scoring\.judgements=true: nano knows single attributes"):
        check_questions(ScoringConfig(judgements=True))
