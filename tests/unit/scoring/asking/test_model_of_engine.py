"""What the scorer knows of its model once the engine is up; the engine itself is looked at in the integration tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gem_ray.errors import ScorerError
from gem_ray.scoring.asking import vllm_scorer
from gem_ray.scoring.asking.vllm_scorer import VLLMScorer
from tests.unit.scoring.asking.small_hub_cache import keep_in_hub_cache


class Engine(SimpleNamespace):
    """In the place of vLLM's, which fetches the model while it starts."""

    ended = False

    def shutdown(self, timeout: float) -> None:
        self.ended = True


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(renderer=None)

    def start(*_: object) -> tuple[Engine, None]:
        keep_in_hub_cache(tmp_path, "org/vlm", "f" * 40)
        return engine, None

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(vllm_scorer, "prepare_environment", lambda *_: None)
    monkeypatch.setattr(vllm_scorer, "start_engine", start)
    monkeypatch.setattr(vllm_scorer, "Rendering", lambda *_, **__: None)
    monkeypatch.setattr(VLLMScorer, "_load_prompts", lambda _: None)
    return engine


def test_a_model_that_comes_from_the_hub_with_the_start_is_known_by_its_revision(engine: Engine) -> None:
    assert VLLMScorer("org/vlm", min_digit_mass=0.0, deadline_s=1.0).fingerprint == "org/vlm-ffffffffffffffff"


def test_an_engine_whose_model_cannot_be_hashed_is_ended(engine: Engine, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("hashlib.file_digest", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(ScorerError, match="cannot be read"):
        VLLMScorer(str(tmp_path), min_digit_mass=0.0, deadline_s=1.0)
    assert engine.ended
