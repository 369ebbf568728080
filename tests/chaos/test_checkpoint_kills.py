"""SIGKILL during ``save_checkpoint``, at every file operation and at seeded times: the old one or the new one, whole.

The control is a writer that puts its files in their places one after another; the same check finds what it leaves.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from ray import cloudpickle

from gem_ray.checkpoint import Checkpoint, complete_steps, load_checkpoint, save_checkpoint
from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.storage import Storage
from kit.kill_points import killed_after, killed_at

SEED = 6
LARGE = 3 << 20


@pytest.fixture(scope="module", autouse=True)
def sent_by_value() -> Iterator[None]:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def make_checkpoint(step: int, size: int = 64) -> Checkpoint:
    """All of its parts say which step they are of."""
    return Checkpoint(
        step=step,
        model={"w": torch.full((size,), float(step))},
        optimizer={"m": torch.full((size,), step + 0.5)},
        graph_json=json.dumps({"version": step}),
        state={"step": step},
    )


def save(folder: Path, step: int, keep: int = 1, size: int = 64) -> None:
    save_checkpoint(Storage(str(folder), StorageConfig()), make_checkpoint(step, size), keep)


def save_carelessly(folder: Path, step: int, size: int = 64) -> None:
    """Control: one folder for the newest checkpoint, written over in place."""
    save(folder / "new", step, size=size)
    target = folder / "checkpoints" / "step_000000001"
    target.mkdir(parents=True, exist_ok=True)
    for name in ("manifest.json", "model.safetensors", "optimizer.safetensors", "graph.json", "state.json"):
        data = (folder / "new" / "checkpoints" / f"step_{step:09d}" / name).read_bytes()
        with open(target / name, "wb") as file:
            file.write(data.replace(b'"step": 2', b'"step": 1') if name == "manifest.json" else data)


def whole_step(folder: Path) -> int | None:
    """Of what step the newest checkpoint is in all of its parts; None where it is of none or of more than one."""
    try:
        found = load_checkpoint(Storage(str(folder), StorageConfig()))
    except DataError:
        return None
    if found is None:
        return None
    parts = {
        *found.model["w"].unique().tolist(),
        *(found.optimizer["m"].unique() - 0.5).tolist(),
        float(json.loads(found.graph_json)["version"]),
        float(found.state["step"]),
    }
    return int(parts.pop()) if len(parts) == 1 else None


def killed_everywhere(tmp_path: Path, prepare: Callable[[Path], None], act: Callable[[Path], None]) -> Counter:
    """Which step was whole, by how often, over kills at every file operation of ``act``."""
    left: Counter = Counter()
    for point in range(1, 500):
        folder = tmp_path / f"killed-{point}"
        prepare(folder)
        died = killed_at(point, lambda folder=folder: act(folder), below=str(folder))
        left[whole_step(folder)] += 1
        if not died:
            print(f"{point - 1} kills: {dict(left)}", flush=True)
            return left
        save(folder, 3)  # what a killed save left behind is in nobody's way
        assert whole_step(folder) == 3
        shutil.rmtree(folder)
    raise AssertionError("it is not done after 500 file operations")


def test_a_save_that_is_killed_anywhere_leaves_the_old_checkpoint_or_the_new_one(tmp_path):
    left = killed_everywhere(tmp_path, lambda folder: save(folder, 1), lambda folder: save(folder, 2))
    assert set(left) == {1, 2}
    assert left.total() > 20
    assert left[1] > 10
    assert left[2] > 2, "no kill came after the new one was whole, where old ones are deleted"


@pytest.mark.slow
def test_a_save_of_a_step_that_is_there_already_leaves_it_or_the_one_before(tmp_path):
    def prepare(folder: Path) -> None:
        save(folder, 1, keep=2)
        save(folder, 2, keep=2)

    left = killed_everywhere(tmp_path, prepare, lambda folder: save(folder, 2, keep=2))
    assert set(left) == {1, 2}


def test_control_a_writer_in_place_is_found_out(tmp_path):
    def prepare(folder: Path) -> None:
        save_carelessly(folder, 1)

    left = killed_everywhere(tmp_path, prepare, lambda folder: save_carelessly(folder, 2))
    assert left[None] > 0, "the check takes a mixture for a checkpoint"
    assert left[2] > 0


@pytest.mark.slow
def test_twenty_kills_at_seeded_times_leave_the_old_checkpoint_or_the_new_one(tmp_path):
    folder, dice = tmp_path / "run", random.Random(SEED)
    takes_s = []
    for _ in range(3):
        began = time.monotonic()
        save(folder, 1, size=LARGE)
        takes_s.append(time.monotonic() - began)
    newest, died, tries, left = 1, 0, 0, Counter()
    while died < 20 and tries < 80:
        tries, step, seconds = tries + 1, newest + 1, dice.uniform(0, min(takes_s))
        died += killed_after(seconds, lambda step=step: save(folder, step, keep=2, size=LARGE))
        found = whole_step(folder)
        left["new" if found == step else "old"] += 1
        assert found in {newest, step}, f"kill {tries} after {seconds:.3f} s left {found}"
        newest = found
    print(f"seed {SEED}: {died} kills of {tries} saves of {min(takes_s):.2f} s, left {dict(left)}", flush=True)
    assert died == 20
    assert left["old"] > 0
    save(folder, newest + 1, keep=1)
    assert complete_steps(Storage(str(folder), StorageConfig())) == [newest + 1]
    assert not list(folder.rglob(".tmp-*")), "leftovers of killed saves stay for ever"
