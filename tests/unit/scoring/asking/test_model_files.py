"""Models that do not exist, and what tells two models apart."""

from __future__ import annotations

import hashlib
import json
import os
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
from tests.unit.scoring.asking.small_hub_cache import keep_in_hub_cache


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


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


def test_a_model_that_differs_only_at_the_end_of_its_weights_has_another_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = bytes(9_000_000)
    (tmp_path / "model.safetensors").write_bytes(weights)
    before = model_fingerprint(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights[:-1] + b"\1")
    assert model_fingerprint(str(tmp_path)) != before


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model-00001-of-00002.bin",
        "model.pt",
        "merges.txt",
        "tokenizer.model",
        "tokenizer.model.v3",
        "chat_template.jinja",
        "additional_chat_templates/tools.jinja",
    ],
)
def test_every_file_that_decides_an_answer_is_part_of_the_fingerprint(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    found = [model_fingerprint(str(tmp_path))]
    for content in ("one", "two, longer"):
        (tmp_path / name).write_text(content)
        found.append(model_fingerprint(str(tmp_path)))
    assert len(set(found)) == 3


def test_files_for_people_and_checks_are_no_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = model_fingerprint(str(tmp_path))
    (tmp_path / "checks").mkdir()
    for name in ("README.md", ".gitattributes", "LICENSE", "checks/photos.json"):
        (tmp_path / name).write_text("words")
    assert model_fingerprint(str(tmp_path)) == before


def test_a_file_that_looks_as_it_did_is_not_read_again(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    weights.write_bytes(b"one")
    state = weights.stat()
    before = model_fingerprint(str(tmp_path))
    weights.write_bytes(b"two")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert model_fingerprint(str(tmp_path)) == before
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert model_fingerprint(str(tmp_path)) != before


def test_a_link_to_a_blob_with_a_sha256_as_its_name_is_as_good_as_the_file(tmp_path: Path) -> None:
    plain, linked, blobs = (tmp_path / name for name in ("a/model", "b/model", "b/blobs"))
    for folder in (plain, linked, blobs):
        folder.mkdir(parents=True)
    for name, content in (("config.json", b"{}"), ("model.safetensors", b"weights")):
        (plain / name).write_bytes(content)
        blob = blobs / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (linked / name).symlink_to(blob)
    assert model_fingerprint(str(linked)) == model_fingerprint(str(plain))
    blob.write_bytes(b"not even read")
    assert model_fingerprint(str(linked)) == model_fingerprint(str(plain))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    fault = OSError(13, "Permission denied", str(tmp_path / "config.json"))
    monkeypatch.setattr("hashlib.file_digest", lambda *_: (_ for _ in ()).throw(fault))
    with pytest.raises(ScorerError, match=r"cannot be read .*Permission denied.*config\.json"):
        model_fingerprint(str(tmp_path))


def test_a_model_of_the_hub_is_known_by_its_revision_once_it_is_on_this_machine(hub_cache: Path) -> None:
    assert model_fingerprint("org/vlm") == "org/vlm"
    found = {"org/vlm"}
    for revision in ("0123456789abcdef" * 2 + "01234567", "f" * 40):
        keep_in_hub_cache(hub_cache, "org/vlm", revision)
        found.add(model_fingerprint("org/vlm"))
    assert found == {"org/vlm", "org/vlm-0123456789abcdef", "org/vlm-ffffffffffffffff"}
    assert model_fingerprint("org/other") == "org/other"
    assert model_fingerprint("org/not--an.id") == "org/not--an.id"


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
