"""Networks whose features tell how alike pictures are, found on this machine: nothing is fetched.

FID, KID and LPIPS are what they are only with their own networks. Their official files are taken where torch.hub has
put them, if the hash in the file's name is theirs, and read with weights_only: torch.hub's own loading, which
torchmetrics would go through, unpickles whatever lies there. Without them the vision tower of the shipped MLLM stands
in, and gives its own name to what is measured.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gem_ray.config import EvaluateConfig
from gem_ray.errors import ConfigError, DataError
from gem_ray.scoring.torchvision_compat import register

NANO = "vision tower of the nano MLLM"
INCEPTION = "Inception v3, pool 2048"


class Network(NamedTuple):
    """A frozen network.

    Args:
        name: for every figure that is made with it
        features: images [B, 3, H, W] in [0, 1] to [B, F]
    """

    name: str
    features: Callable[[Tensor], Tensor]


class OfficialFile(NamedTuple):
    """A file of published weights: its name, and how its sha256 begins."""

    name: str
    sha256: str


INCEPTION_FILE = OfficialFile("weights-inception-2015-12-05-6726825d.pth", "6726825d")
ALEXNET_FILE = OfficialFile("alexnet-owt-7be5be79.pth", "7be5be79")


def chosen_network(wanted: EvaluateConfig) -> Network:
    """The network of ``evaluate.network``.

    Raises:
        ConfigError: Inception is asked for and not to be had
        DataError: its file is not the official one
    """
    folder = weights_folder(wanted)
    if wanted.network != "nano":
        network = inception_network(folder)
        if network is not None:
            return network
        if wanted.network == "inception":
            raise ConfigError(
                f"evaluate.network='inception' needs the package torch-fidelity and the file {INCEPTION_FILE.name} (of "
                f"its release v0.2.0) in {folder}; set evaluate.networks to the folder that holds it, or leave "
                "evaluate.network=auto"
            )
    return nano_network()


def weights_folder(wanted: EvaluateConfig) -> Path:
    """Where official files are looked for."""
    return Path(wanted.networks).expanduser() if wanted.networks else Path(torch.hub.get_dir()) / "checkpoints"


def official_path(folder: Path, file: OfficialFile) -> Path | None:
    """The file, its hash checked; None where there is none.

    Raises:
        DataError: a file of that name with other content
    """
    path = folder / file.name
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(file.sha256):
        raise DataError(f"{path} is not the official file: sha256 {found[:12]}..., not {file.sha256}...; remove it")
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a torch file, in which nothing but tensors may be.

    Raises:
        DataError: the file holds code, or is no torch file
    """
    try:
        weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise DataError(f"{path} holds more than tensors, or is damaged: {str(error).splitlines()[0]}") from error
    return weights


def inception_network(folder: Path, file: OfficialFile = INCEPTION_FILE) -> Network | None:
    """The network of FID and KID, through torchmetrics; None without torch-fidelity or its file.

    Raises:
        DataError: see ``official_path`` and ``read_weights``
    """
    if importlib.util.find_spec("torch_fidelity") is None or (path := official_path(folder, file)) is None:
        return None
    weights = read_weights(path)
    register()
    from torchmetrics.image.fid import NoTrainInceptionV3

    with tempfile.TemporaryDirectory() as own:
        # torch-fidelity unpickles whatever the file holds, so it gets one with our tensors and nothing else in it.
        torch.save(weights, copy := Path(own) / "inception.pth")
        inception = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(copy))
    return Network(INCEPTION, lambda images: inception((images * 255.0).round().to(torch.uint8)))


def nano_network() -> Network:
    """The vision tower of the shipped MLLM: mean feature [160] of an image's patches, as its projector sees them."""
    layers = nano_layers()
    return Network(NANO, lambda images: layers(images)[-1].mean(dim=1))


def nano_layers() -> Callable[[Tensor], list[Tensor]]:
    """Images [B, 3, H, W] in [0, 1] to the tower's patches [B, P, 160] behind each of its five layers.

    The tower was trained on the drawn faces and knows them best; for other images it is some fixed network.
    """
    from gem_ray.scoring.nano_model import IMAGE_SIZE, PIXEL_MEAN, PIXEL_STD, load_nano  # seconds of imports

    tower = load_nano()[0].model.vision_tower

    def layers(images: Tensor) -> list[Tensor]:
        if images.shape[-1] != IMAGE_SIZE:
            images = F.interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=True)
        hidden = tower((images - PIXEL_MEAN) / PIXEL_STD, output_hidden_states=True).hidden_states
        return [one[:, 1:] for one in hidden[1:]]

    return layers


def lpips_network(folder: Path, file: OfficialFile = ALEXNET_FILE) -> nn.Module | None:
    """torchmetrics' LPIPS with the AlexNet of torchvision; None where its file is not there.

    torchmetrics brings the linear weights along. A call takes two batches of images in [0, 1] and ``normalize=True``.

    Raises:
        DataError: see ``official_path`` and ``read_weights``
    """
    path = official_path(folder, file)
    if path is None:
        return None
    weights = read_weights(path)
    register()
    from torchmetrics.functional.image.lpips import _NoTrainLpips  # the public class would go through torch.hub

    network = _NoTrainLpips(net="alex", pnet_rand=True)
    # slice2.3.weight of torchmetrics is features.3.weight of torchvision
    wanted = {name: weights[f"features.{name.split('.', 1)[1]}"] for name in network.net.state_dict()}
    network.net.load_state_dict(wanted)
    return network
