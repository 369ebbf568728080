"""Bytes that leave a mark when something unpickles them, in every dress in which Python loads pickles."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np


class _Marks:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._mark,)


def pickle_bombs(mark: Path) -> dict[str, bytes]:
    """File contents by dress; loading any of them as what it looks like creates ``mark``."""
    bomb = _Marks(mark)
    array = np.empty(1, object)
    array[0] = bomb
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, array, allow_pickle=True)
    np.savez(npz, images=array, imgs=array, labels=array, latents_classes=array)
    return {
        "protocol 0": pickle.dumps(bomb, protocol=0),
        "protocol 2": pickle.dumps(bomb, protocol=2),
        "protocol 5": pickle.dumps(bomb, protocol=5),
        "npy": npy.getvalue(),
        "npz": npz.getvalue(),
        "torch": _torch_file(pickle.dumps(bomb, protocol=2)),
    }


def _torch_file(pickled: bytes) -> bytes:
    """As ``torch.save`` writes: a zip whose ``data.pkl`` is unpickled."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return buffer.getvalue()
