"""Exported parts do what torch does, for batches of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import gem_ray
from gem_ray.errors import ConfigError
from gem_ray.inference.export import difference, export, parts_of, run_torch
from gem_ray.inference.trained import TrainedModel


@pytest.fixture(scope="module")
def exported(model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    told: list[str] = []
    differences = export(model, folder, ["torch", "gem_ray"], 1e-5, lambda path, _: told.append(path.name))
    assert told == list(differences) == ["encoder.pt2", "graph.pt2", "decoder.pt2"]
    return folder


@pytest.mark.parametrize("count", [1, 3])
def test_torch_programs_encode_edit_and_decode_as_the_model_does(
    exported: Path, model: TrainedModel, images: torch.Tensor, count: int
):
    encoder, graph, decoder = (run_torch(exported / f"{name}.pt2") for name in ("encoder", "graph", "decoder"))
    mu, z_rel = (torch.from_numpy(values) for values in encoder(images[:count]))
    codes = model.encode(images[:count])
    torch.testing.assert_close(mu, codes.mu)
    torch.testing.assert_close(z_rel, codes.z_rel)
    latents = json.loads((exported / "about.json").read_text())["latents"]
    moved = mu.clone()
    moved[:, latents["beard"]] += model.reference.deviation[latents["beard"]]
    edited = torch.from_numpy(decoder(torch.from_numpy(graph(moved)[0]))[0])
    torch.testing.assert_close(edited, model.edit(images[:count], {"beard": 1.0}), atol=1e-5, rtol=0)


def test_what_is_exported_says_how_to_use_it_and_loads_again(exported: Path, model: TrainedModel):
    about = json.loads((exported / "about.json").read_text())
    assert (about["image_size"], about["centre_crop"], about["step"]) == (32, 40, 7)
    assert about["latents"] == {"male": 0, "beard": 1, "makeup": 2}
    assert gem_ray.load(exported / "model").fingerprint == model.fingerprint == about["fingerprint"]


@pytest.mark.slow
def test_onnx_does_what_torch_does(model: TrainedModel, images: torch.Tensor, tmp_path: Path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    pytest.importorskip("onnxscript", reason="the extra export is not installed")
    differences = export(model, tmp_path, ["onnx"], 1e-4)
    assert list(differences) == ["encoder.onnx", "graph.onnx", "decoder.onnx"]
    sessions = {name: onnxruntime.InferenceSession(str(tmp_path / name)) for name in differences}
    for count in (1, 3):
        mu, z_rel = sessions["encoder.onnx"].run(["mu", "z_rel"], {"images": images[:count].numpy()})
        codes = model.encode(images[:count])
        np.testing.assert_allclose(mu, codes.mu, atol=1e-4)
        np.testing.assert_allclose(sessions["graph.onnx"].run(None, {"mu": mu})[0], z_rel, atol=1e-5)
        (pictures,) = sessions["decoder.onnx"].run(["images"], {"z_rel": z_rel})
        np.testing.assert_allclose(pictures, model.reconstruct(images[:count]), atol=1e-4)
    with pytest.raises(ConfigError, match="max_difference=1e-12"):
        export(model, tmp_path, ["onnx"], 1e-12)


def test_a_part_that_does_something_else_is_noticed(model: TrainedModel):
    module, example, _, _ = parts_of(model)["encoder"]
    right = [values.numpy() for values in module(example)]
    assert difference(module, lambda taken: right, example) == 0.0
    assert difference(module, lambda taken: [right[0], right[1] + 0.5], example) == pytest.approx(0.5)
    assert difference(module, lambda taken: [right[0][:1], right[1]], example) == float("inf")
    assert difference(module, lambda taken: right[:1], example) == float("inf")


def test_without_onnx_the_error_says_what_to_install(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gem-ray\[export\]"):
        export(model, tmp_path, ["onnx"], 1e-4)
