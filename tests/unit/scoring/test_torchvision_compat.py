"""The plugin that lets vLLM load beside libraries whose compiled parts do not fit torch."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from gem_ray.scoring.torchvision_compat import _ensure_importable, register


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path for packages of a test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def make_package(folder: Path, name: str, body: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(body)
    (folder / name / "part.py").write_text("VALUE = 1\n")


def test_vllm_finds_the_plugin_and_takes_it_for_no_platform() -> None:
    (plugin,) = [point for point in entry_points(group="vllm.platform_plugins") if point.name == "gem_ray_torchvision"]
    assert plugin.load() is register
    assert register() is None
    assert register() is None


def test_transformers_image_processors_load_in_a_new_process_after_it() -> None:
    code = (
        "from gem_ray.scoring.torchvision_compat import register; register(); import torchvision; "
        "from transformers import LlavaForConditionalGeneration, LlavaProcessor; print('loaded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip().endswith("loaded"), done.stderr


@pytest.mark.parametrize("error", ["OSError('could not load this library')", "RuntimeError('no such operator')"])
def test_a_package_that_cannot_load_is_replaced_by_an_empty_module(packages: Path, error: str) -> None:
    name = f"broken_{error[:2].lower()}"
    make_package(packages, name, f"from {'.part'} import VALUE\nraise {error}\n")
    _ensure_importable(name)
    assert importlib.import_module(name).__spec__ is not None
    assert importlib.util.find_spec(name) is not None
    with pytest.raises(ImportError):
        importlib.import_module(f"{name}.part")


def test_a_package_that_loads_is_left_alone(packages: Path) -> None:
    make_package(packages, "sound_package", "from .part import VALUE\n")
    _ensure_importable("sound_package")
    assert importlib.import_module("sound_package").VALUE == 1
    assert importlib.import_module("sound_package.part").VALUE == 1


def test_a_package_that_is_not_installed_stays_absent() -> None:
    _ensure_importable("no_such_package_at_all")
    assert "no_such_package_at_all" not in sys.modules
