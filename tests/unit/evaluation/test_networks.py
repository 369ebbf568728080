"""Published weights are taken only as what they are, and only with nothing but tensors in them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from gem_ray.config import EvaluateConfig
from gem_ray.errors import ConfigError, DataError
from gem_ray.evaluation.networks import (
    ALEXNET_FILE,
    OfficialFile,
    chosen_network,
    lpips_network,
    official_path,
    read_weights,
    weights_folder,
)
from gem_ray.evaluation.perception import lpips

SHAPES = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}  # of AlexNet


def file_of(path: Path) -> OfficialFile:
    return OfficialFile(path.name, hashlib.sha256(path.read_bytes()).hexdigest()[:8])


def random_alexnet() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (out, channels, side) in SHAPES.items():
        scale = (channels * side * side) ** -0.5
        weights[f"features.{layer}.weight"] = scale * torch.randn(out, channels, side, side, generator=generator)
        weights[f"features.{layer}.bias"] = 0.1 * torch.randn(out, generator=generator)
    return weights


def test_a_file_with_the_right_name_and_other_content_is_refused(tmp_path):
    (tmp_path / ALEXNET_FILE.name).write_bytes(b"something else")
    with pytest.raises(DataError, match="not the official file: sha256"):
        official_path(tmp_path, ALEXNET_FILE)
    assert official_path(tmp_path / "nowhere", ALEXNET_FILE) is None
    assert lpips_network(tmp_path / "nowhere") is None


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (Path("unpickled").touch, ())


def test_a_file_with_code_in_it_is_refused_and_the_code_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Code()}, tmp_path / "saved.pth")
    (tmp_path / "pickled.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    for name in ("saved.pth", "pickled.pth"):
        with pytest.raises(DataError, match="more than tensors, or is damaged"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.slow  # torchvision builds all of AlexNet first
def test_lpips_is_that_of_zhang_et_al_over_the_alexnet_of_the_file(tmp_path):
    weights = random_alexnet()
    path = tmp_path / "alexnet.pth"
    torch.save(weights, path)
    network = lpips_network(tmp_path, file_of(path))
    assert network is not None
    images = torch.rand(3, 2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    def unit_layers(batch: torch.Tensor) -> list[torch.Tensor]:
        shift, scale = (torch.tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
        x, layers = (2 * batch - 1 - shift) / scale, []
        for layer, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            x = F.max_pool2d(x, 3, 2) if layer in (3, 6) else x
            x = F.relu(
                F.conv2d(x, weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"], stride, padding)
            )
            layers.append(x / (x.square().sum(dim=1, keepdim=True) + 1e-8).sqrt())
        return layers

    linear = [one.model[-1].weight for one in network.lins]
    pairs = zip(unit_layers(images[0]), unit_layers(images[1]), linear)
    expected = sum(F.conv2d((a - b).square(), w).mean() for a, b, w in pairs)
    assert lpips(network, images[0], images[1]) == pytest.approx(float(expected), rel=1e-4)
    assert lpips(network, images[0], images[0]) == 0


def test_inception_that_is_asked_for_and_not_there_is_not_replaced_in_silence(tmp_path):
    with pytest.raises(ConfigError, match=r"weights-inception.*set evaluate.networks"):
        chosen_network(EvaluateConfig(network="inception", networks=str(tmp_path)))


def test_files_are_looked_for_where_torch_hub_puts_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert weights_folder(EvaluateConfig()) == tmp_path / "checkpoints"
    assert weights_folder(EvaluateConfig(networks="/some/where")) == Path("/some/where")
