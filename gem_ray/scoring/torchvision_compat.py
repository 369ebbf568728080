"""Lets vLLM and transformers load beside a torchvision, torchaudio or torchcodec whose compiled parts do not fit torch.

Package indexes without CPU builds serve CUDA builds of the three, whose import fails ("operator torchvision::nms does
not exist", ``OSError: Could not load this library``). ``register`` is an entry point of the group
``vllm.platform_plugins``, so vLLM calls it in every process before it imports transformers; our own code calls it
itself. Where the real libraries load it changes nothing.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

import torch

# Schemas only: torchvision registers its fake kernels on them at import. Nobody here calls the ops.
OP_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_libraries: list[torch.library.Library] = []  # an op lives as long as the Library object that defined it


def register() -> None:
    """Make the three packages importable; returns None, so that vLLM never takes this for a platform."""
    _ensure_torchvision_ops()
    for package in ("torchaudio", "torchcodec"):
        _ensure_importable(package)


def _ensure_torchvision_ops() -> None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or "torchvision" in sys.modules or _libraries:
        return
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for library in (path for folder in folders for path in sorted(folder.glob("_C*.so"))):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return
    definitions = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in OP_SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            definitions.define(schema)
    _libraries.append(definitions)


def _ensure_importable(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        return
    try:
        importlib.import_module(package)
    except (OSError, RuntimeError, ImportError):
        # A plain module, not a package: "from torchcodec.decoders import X" stays an ImportError, which callers expect.
        stub = types.ModuleType(package, f"Stands in for {package}, whose compiled part does not load here.")
        stub.__spec__ = importlib.machinery.ModuleSpec(package, loader=None)
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            del sys.modules[name]
        sys.modules[package] = stub
