"""Loading a model from a run or from a saved folder, on machines that have little else than torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gem_ray
from gem_ray.data.images import decode_image
from gem_ray.errors import DataError
from gem_ray.inference.trained import TrainedModel

WITHOUT_RAY = """
import sys
BLOCKED = {"ray", "vllm", "hydra", "omegaconf", "matplotlib", "transformers", "sklearn", "torchvision", "pyarrow"}
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in BLOCKED else self.finder.find_spec(name, *rest)
sys.meta_path = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
try:
    import ray
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("ray is not blocked")
import gem_ray
assert "torch" not in sys.modules, "importing gem_ray must stay light"
import numpy as np
for folder in sys.argv[1:]:  # the saved model, then the run
    model = gem_ray.load(folder)
    image = np.full((50, 60, 3), 90, np.uint8)
    edited = model.edit(image, {"male": 1.5})
    assert edited.shape == (3, 32, 32) and not edited.equal(model.reconstruct(image))
    model.edit(image, {"male": 1.5}, propagate=False), model.traverse(image, "beard"), model.sample(2)
    assert model.encode([image, image]).z_rel.shape == (2, model.latent_dim)
    assert "beard -> male" in str(model.graph)
    print(float(edited.double().sum()))
    BLOCKED.discard("pyarrow")  # a saved model needs no Parquet; the data of a run are made of it
"""


def test_a_run_and_a_saved_model_load_and_edit_without_ray(run_folder: Path, model: TrainedModel, tmp_path: Path):
    model.save(str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(tmp_path), str(run_folder)], capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    expected = float(model.edit(np.full((50, 60, 3), 90, np.uint8), {"male": 1.5}).double().sum())
    assert [float(line) for line in done.stdout.split()] == pytest.approx([expected, expected], abs=1e-3)


def test_a_saved_model_is_the_model(any_model: TrainedModel, images: torch.Tensor, tmp_path: Path):
    any_model.save(str(tmp_path))
    again = gem_ray.load(tmp_path)
    assert (again.step, again.shape, again.fingerprint) == (7, any_model.shape, any_model.fingerprint)
    assert again.reference.source == "64 images of the training data"
    assert torch.equal(again.edit(images, {"male": 1.5}), any_model.edit(images, {"male": 1.5}))
    assert torch.equal(again.sample(3, seed=4), any_model.sample(3, seed=4))
    said = (tmp_path / "model.json").read_text()
    assert str(any_model.data.uri) not in said  # it is handed on: no path of the machine it comes from


def test_images_are_cropped_as_the_data_were_prepared(model: TrainedModel, tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    assert model.shape.crop == 40  # the manifest says so; the run's own prepare.crop is 0
    path = tmp_path / "x.png"
    model.to_pil(torch.from_numpy(pixels).permute(2, 0, 1) / 255.0)[0].save(path)
    prepared = decode_image(path.read_bytes(), model.shape)
    assert torch.equal(model.encode(path).mu, model.encode(prepared).mu)


def test_the_prior_can_be_the_unit_where_the_data_are_gone(run_folder: Path, images: torch.Tensor, tmp_path: Path):
    shutil.copytree(run_folder / "checkpoints", tmp_path / "checkpoints")
    state = next((tmp_path / "checkpoints").rglob("state.json"))
    content = json.loads(state.read_text())
    config = json.loads(content["config"])
    config["data"]["uri"] = str(tmp_path / "gone")
    state.write_text(json.dumps({**content, "config": json.dumps(config)}))
    manifest = state.parent / "manifest.json"
    manifest.write_text(manifest.read_text().replace(sha_of(run_folder), sha256(state)))
    lost = gem_ray.load(tmp_path)
    assert lost.reconstruct(images).shape == images.shape
    with pytest.raises(DataError, match="reference=FOLDER"):
        lost.edit(images, {"male": 1.0})
    prior = gem_ray.load(tmp_path, reference="prior")
    codes = prior.encode(images)
    torch.testing.assert_close(prior.reference.deviation, torch.ones(prior.latent_dim))
    moved = codes.mu.clone()
    moved[:, 0] += 1.5
    torch.testing.assert_close(
        prior.edited_codes(codes.mu, {"male": 1.5}), prior.gem.relate(moved, prior.strength), atol=1e-5, rtol=1e-5
    )
    data = str(run_folder.parent / "data")
    elsewhere = gem_ray.load(tmp_path, reference=data)
    assert torch.equal(elsewhere.reference.mu, gem_ray.load(run_folder).reference.mu)


def sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha_of(run_folder: Path) -> str:
    return sha256(next((run_folder / "checkpoints").rglob("state.json")))


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path, run_folder: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(DataError, match=r"neither a complete checkpoint nor a saved model"):
            gem_ray.load(folder)
    with pytest.raises(DataError, match="step_000000099"):
        gem_ray.load(run_folder, step=99)


def test_another_schema_and_damage_are_told_apart(model: TrainedModel, tmp_path: Path, run_folder: Path):
    model.save(str(tmp_path / "saved"))
    with pytest.raises(DataError, match="step=7"):
        gem_ray.load(tmp_path / "saved", step=7)
    about = tmp_path / "saved" / "model.json"
    whole = about.read_text()
    about.write_text(whole.replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(DataError, match=r"schema version 9.*reads 1"):
        gem_ray.load(tmp_path / "saved")
    about.write_text(whole.replace('"width"', '"widths"'))
    with pytest.raises(DataError, match="widths"):
        gem_ray.load(tmp_path / "saved")
    about.write_text(whole)
    weights = tmp_path / "saved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataError, match=r"model\.safetensors does not match"):
        gem_ray.load(tmp_path / "saved")

    shutil.copytree(run_folder, tmp_path / "run")
    manifest = next((tmp_path / "run" / "checkpoints").rglob("manifest.json"))
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(DataError, match="schema version 9"):
        gem_ray.load(tmp_path / "run")
