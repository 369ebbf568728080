"""A trained model for programs that know nothing of gem_ray: ONNX and torch.export, each held against torch.

Three parts, each with a free batch dimension: ``encoder`` (images -> mu, z_rel), ``graph`` (mu -> z_rel, for codes that
were edited) and ``decoder`` (z_rel -> images). Images are float [B, 3, size, size] in [0, 1], codes float [B, L].
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gem_ray.errors import ConfigError
from gem_ray.inference.trained import TrainedModel
from gem_ray.models.gem import Gem

TRIAL_IMAGES = 5  # another number than the export has seen, so that a fixed batch dimension would show
ONNX_NEEDS = ("onnx", "onnxscript", "onnxruntime")
Run = Callable[[Tensor], list[NDArray[np.float32]]]


class Relate(nn.Module):
    """mu -> z_rel, with the graph's strengths as part of the weights."""

    strength: Tensor

    def __init__(self, gem: Gem, strength_KK: Tensor) -> None:
        super().__init__()
        self.gem = gem
        self.register_buffer("strength", strength_KK)

    def forward(self, mu: Tensor) -> Tensor:
        """z_rel [B, L]."""
        return self.gem.relate(mu, self.strength)


class Encode(nn.Module):
    """images -> (mu, z_rel)."""

    def __init__(self, relate: Relate) -> None:
        super().__init__()
        self.relate = relate

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [B, L] before and after the graph has acted."""
        mu, _ = self.relate.gem.encode(images)
        return mu, self.relate(mu)


class Decode(nn.Module):
    """z_rel -> images in [0, 1]."""

    def __init__(self, gem: Gem) -> None:
        super().__init__()
        self.gem = gem

    def forward(self, z_rel: Tensor) -> Tensor:
        """Images [B, 3, H, W]."""
        return self.gem.images(self.gem.decode(z_rel))


def parts_of(model: TrainedModel) -> dict[str, tuple[nn.Module, Tensor, str, tuple[str, ...]]]:
    """What is exported by name: module, an example of its input, and the names of input and outputs."""
    relate = Relate(model.gem, model.strength).eval()
    images = torch.rand(2, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    codes = torch.randn(2, model.latent_dim, generator=torch.Generator().manual_seed(1))
    return {
        "encoder": (Encode(relate).eval(), images, "images", ("mu", "z_rel")),
        "graph": (relate, codes, "mu", ("z_rel",)),
        "decoder": (Decode(model.gem).eval(), codes, "z_rel", ("images",)),
    }


def export(
    model: TrainedModel,
    folder: Path,
    formats: Sequence[str],
    max_difference: float,
    tell: Callable[[Path, float], None] = lambda path, difference: None,
) -> dict[str, float]:
    """Write the parts to a local folder and try each of them; the largest difference to torch by name of the file.

    Args:
        formats: some of ``onnx``, ``torch``, ``gem_ray``
        tell: called with each file once it is written and tried

    Raises:
        ConfigError: ONNX is wanted and not installed; or an exported part does not do what torch does
    """
    missing = [name for name in ONNX_NEEDS if importlib.util.find_spec(name) is None]
    if "onnx" in formats and missing:
        raise ConfigError(
            f"export.formats has onnx, but {', '.join(missing)} is not installed: pip install 'gem-ray[export]', or "
            "set export.formats=[torch,gem_ray]"
        )
    folder.mkdir(parents=True, exist_ok=True)
    model.to("cpu")
    differences = {}
    for name, (module, example, taken, given) in parts_of(model).items():
        program = torch.export.export(
            module, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=False
        )
        trial = torch.rand(TRIAL_IMAGES, *example.shape[1:], generator=torch.Generator().manual_seed(2))
        written: list[tuple[Path, Run]] = []
        if "torch" in formats:
            path = folder / f"{name}.pt2"
            torch.export.save(program, path)
            written.append((path, run_torch(path)))
        if "onnx" in formats:
            path = folder / f"{name}.onnx"
            write_onnx(program, path, taken, given)
            written.append((path, run_onnx(path)))
        for path, run in written:
            differences[path.name] = difference(module, run, trial)
            tell(path, differences[path.name])
    far = {name: found for name, found in differences.items() if not found <= max_difference}
    if far:
        raise ConfigError(
            f"exported parts differ from torch by more than export.max_difference={max_difference:g}: {far}; "
            "raise it if the codes are that large, or report it with the versions of torch and onnx"
        )
    if "gem_ray" in formats:
        model.save(str(folder / "model"))
    (folder / "about.json").write_text(json.dumps(about(model, differences), indent=2))
    return differences


def about(model: TrainedModel, differences: dict[str, float]) -> dict[str, Any]:
    """What a program needs to know to use the parts."""
    width = model.gem.config.node_dim
    return {
        "image_size": model.image_size,
        "centre_crop": model.shape.crop,
        "images": "float32 [batch, 3, image_size, image_size], RGB in [0, 1]",
        "latent_dim": model.latent_dim,
        "latents": {name: number * width for number, name in enumerate(model.attributes)},
        "step": model.step,
        "fingerprint": model.fingerprint,
        "relations": model.graph.to_dict(),
        "largest_difference_to_torch": differences,
    }


def write_onnx(program: torch.export.ExportedProgram, path: Path, taken: str, given: tuple[str, ...]) -> None:
    """Write an exported program as ONNX, weights inside the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
        made = torch.onnx.export(
            program, input_names=[taken], output_names=list(given), dynamo=True, external_data=False, verbose=False
        )
    assert made is not None
    made.save(path, external_data=False)


def run_torch(path: Path) -> Run:
    """What a saved torch.export program, which we have just written, gives for an input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, about itself
        module = torch.export.load(path).module()

    def run(taken: Tensor) -> list[NDArray[np.float32]]:
        found = module(taken)
        return [value.detach().numpy() for value in (found if isinstance(found, tuple) else (found,))]

    return run


def run_onnx(path: Path) -> Run:
    """What onnxruntime gives for an input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda taken: session.run(None, {name: taken.numpy()})


@torch.no_grad()
def difference(module: nn.Module, run: Run, trial: Tensor) -> float:
    """The largest absolute difference of any output from torch's; infinite where a shape or a count differs."""
    expected = module(trial)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = run(trial)
    if [value.shape for value in found] != [tuple(value.shape) for value in expected]:
        return float("inf")
    return max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, expected))
