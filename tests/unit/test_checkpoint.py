"""Checkpoints are whole or invisible, damage is passed over, and nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from gem_ray.checkpoint import (
    Checkpoint,
    complete_steps,
    latest_step,
    load_checkpoint,
    newest_whole_step,
    put_aside_newer,
    save_checkpoint,
)
from gem_ray.config import StorageConfig
from gem_ray.errors import DataError, StorageError
from gem_ray.storage import Storage


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "run"), StorageConfig())


def make_checkpoint(step: int, num_weights: int = 8) -> Checkpoint:
    """Weights, a view that is not contiguous, and the types an optimiser has; all depend on the step."""
    weights = torch.arange(num_weights, dtype=torch.float32) + step
    return Checkpoint(
        step=step,
        model={"weight": torch.nn.Parameter(weights), "turned": torch.arange(6.0).view(2, 3).T},
        optimizer={"step": torch.tensor(float(step)), "moment": weights.bfloat16(), "count": torch.tensor([step])},
        graph_json=json.dumps({"version": step, "name": "Bärte"}),
        state={"seed": 7, "config": "{}"},
    )


def folder(run: Storage, step: int) -> Path:
    return run.local_path / "checkpoints" / f"step_{step:09d}"


def replace_with_its_sum(run: Storage, step: int, name: str, data: bytes) -> None:
    """Put other bytes into a checkpoint whose manifest agrees with them, as an attacker could."""
    (folder(run, step) / name).write_bytes(data)
    path = folder(run, step) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"][name] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(manifest))


def assert_same_tensors(found: dict[str, torch.Tensor], saved: dict[str, torch.Tensor]) -> None:
    assert found.keys() == saved.keys()
    for name, tensor in saved.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_what_is_saved_is_loaded(run):
    saved = make_checkpoint(500)
    size = save_checkpoint(run, saved, keep=3)
    found = load_checkpoint(run)
    assert found is not None
    assert_same_tensors(found.model, saved.model)
    assert_same_tensors(found.optimizer, saved.optimizer)
    assert (found.step, found.graph_json, found.state) == (500, saved.graph_json, saved.state)
    files = {path.name: path.stat().st_size for path in folder(run, 500).iterdir()}
    assert size == sum(files.values()) - files["manifest.json"]


def test_a_run_without_checkpoints_has_none(run):
    assert latest_step(run) is None
    assert load_checkpoint(run) is None
    with pytest.raises(DataError, match="step_000000007"):
        load_checkpoint(run, 7)


def test_without_its_manifest_a_checkpoint_does_not_exist(run):
    save_checkpoint(run, make_checkpoint(1), keep=3)
    save_checkpoint(run, make_checkpoint(2), keep=3)
    (folder(run, 2) / "manifest.json").unlink()
    assert complete_steps(run) == [1]
    found = load_checkpoint(run)
    assert found is not None
    assert found.step == 1
    with pytest.raises(DataError, match="incomplete"):
        load_checkpoint(run, 2)
    save_checkpoint(run, make_checkpoint(2), keep=3)
    assert latest_step(run) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "graph.json", "state.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run, caplog, name, damage):
    save_checkpoint(run, make_checkpoint(1), keep=3)
    save_checkpoint(run, make_checkpoint(2), keep=3)
    path = folder(run, 2) / name
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    if damage == "gone":
        path.unlink()
    with caplog.at_level(logging.WARNING):
        found = load_checkpoint(run)
    assert found is not None
    assert found.step == 1
    assert "step_000000002" in caplog.text
    assert name in caplog.text
    with pytest.raises(DataError, match=name):
        load_checkpoint(run, 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"schema_version": 1, "step": 2, "sha256": {}}'])
def test_a_manifest_of_nonsense_is_damage(run, text):
    save_checkpoint(run, make_checkpoint(1), keep=3)
    save_checkpoint(run, make_checkpoint(2), keep=3)
    (folder(run, 2) / "manifest.json").write_text(text)
    found = load_checkpoint(run)
    assert found is not None
    assert found.step == 1


def test_when_all_are_damaged_the_run_does_not_silently_start_anew(run):
    for step in (1, 2):
        save_checkpoint(run, make_checkpoint(step), keep=3)
        (folder(run, step) / "model.safetensors").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 checkpoints.*step_000000002/model.safetensors"):
        load_checkpoint(run)


def test_only_the_newest_are_kept(run):
    for step in (5, 10, 100, 20):
        save_checkpoint(run, make_checkpoint(step), keep=2)
    assert complete_steps(run) == [20, 100]
    assert {path.parent.name for path in run.local_path.rglob("*.*")} == {"step_000000020", "step_000000100"}


def spoil(run: Storage, step: int) -> None:
    (folder(run, step) / "model.safetensors").write_bytes(b"")


def test_of_a_run_that_goes_on_from_before_damage_the_new_checkpoints_are_kept(run):
    for step in (2000, 2500, 3000):
        save_checkpoint(run, make_checkpoint(step), keep=3)
    spoil(run, 3000)
    found = load_checkpoint(run)
    assert found is not None
    put_aside_newer(run, found.step)
    assert complete_steps(run) == [2000, 2500]
    save_checkpoint(run, make_checkpoint(2600), keep=1)
    assert complete_steps(run) == [newest_whole_step(run)] == [2600]
    aside = run.local_path / "checkpoints" / "unreadable_000003000"
    assert json.loads((aside / "graph.json").read_text())["version"] == 3000


def test_nothing_is_put_aside_where_the_newest_is_whole(run):
    for step in (1, 2):
        save_checkpoint(run, make_checkpoint(step), keep=3)
    put_aside_newer(run, 2)
    assert run.folders("checkpoints") == ["checkpoints/step_000000001", "checkpoints/step_000000002"]


def test_what_was_just_saved_is_kept_also_beside_newer_ones(run):
    for step in (2500, 3000, 2600):
        save_checkpoint(run, make_checkpoint(step), keep=1)
    assert complete_steps(run) == [2600, 3000]


def test_the_newest_whole_step_is_that_of_the_checkpoint_that_is_loaded(run):
    assert newest_whole_step(run) is None
    for step in (1, 2):
        save_checkpoint(run, make_checkpoint(step), keep=3)
    spoil(run, 2)
    assert (latest_step(run), newest_whole_step(run)) == (2, 1)
    spoil(run, 1)
    with pytest.raises(DataError, match="none of the 2 checkpoints"):
        newest_whole_step(run)


@pytest.mark.parametrize("name", ["best", "step_final", "step_1", "step_0000000001", "step_000000001_old"])
def test_folders_of_a_person_are_neither_read_nor_deleted(run, name):
    run.write_bytes(f"checkpoints/{name}/manifest.json", b"{}")
    for step in (1, 2):
        save_checkpoint(run, make_checkpoint(step), keep=1)
    assert complete_steps(run) == [2]
    assert run.exists(f"checkpoints/{name}/manifest.json")


def test_steps_of_ten_digits_are_steps_too(run):
    for step in (999_999_999, 1_000_000_000):
        save_checkpoint(run, make_checkpoint(step), keep=1)
    assert complete_steps(run) == [1_000_000_000]


@pytest.mark.parametrize("left", ["model.safetensors", ".tmp-0a1b"], ids=["some files", "half a file"])
def test_what_a_killed_save_left_goes_with_the_next(run, left):
    save_checkpoint(run, make_checkpoint(1), keep=2)
    folder(run, 2).mkdir()
    (folder(run, 2) / left).write_bytes(b"half")
    save_checkpoint(run, make_checkpoint(3), keep=2)
    assert complete_steps(run) == [1, 3]
    assert not folder(run, 2).exists()


def test_what_a_killed_save_left_goes_with_the_next_of_the_same_step(run):
    folder(run, 2).mkdir(parents=True)
    (folder(run, 2) / ".tmp-0a1b").write_bytes(b"half")
    save_checkpoint(run, make_checkpoint(2), keep=2)
    assert complete_steps(run) == [2]
    assert not list(folder(run, 2).glob(".tmp-*"))


def test_saving_a_step_again_replaces_it(run):
    save_checkpoint(run, make_checkpoint(3, num_weights=4), keep=2)
    save_checkpoint(run, make_checkpoint(3, num_weights=9), keep=2)
    found = load_checkpoint(run)
    assert found is not None
    assert found.model["weight"].shape == (9,)


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """No file of this process can grow further: what a full disk does to a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_good_checkpoint(run):
    save_checkpoint(run, make_checkpoint(1), keep=1)
    # The limit holds for the files of pytest's own capture too, which are smaller than this.
    with largest_file(4 << 20), pytest.raises(StorageError, match="model.safetensors"):
        save_checkpoint(run, make_checkpoint(2, num_weights=2 << 20), keep=1)
    assert complete_steps(run) == [1]
    found = load_checkpoint(run)
    assert found is not None
    assert_same_tensors(found.model, make_checkpoint(1).model)
    assert [path for path in run.local_path.rglob(".tmp-*")] == []


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused_before_its_files_are_looked_at(run, version):
    save_checkpoint(run, make_checkpoint(4), keep=1)
    manifest = {"schema_version": version, "step": 4, "parts": ["model.other"]}
    (folder(run, 4) / "manifest.json").write_text(json.dumps(manifest))
    for step in (4, None):
        with pytest.raises(DataError, match=f"schema version {version}.*reads 1.*version of gem_ray"):
            load_checkpoint(run, step)


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.sentinel),)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_pickle_in_place_of_a_file_is_refused_and_never_run(run, tmp_path, name):
    sentinel = tmp_path / "sentinel"
    save_checkpoint(run, make_checkpoint(1), keep=2)
    save_checkpoint(run, make_checkpoint(2), keep=2)
    bomb = pickle.dumps(Bomb(sentinel))
    replace_with_its_sum(run, 2, name, bomb)
    with pytest.raises(DataError, match="damaged"):
        load_checkpoint(run, 2)
    found = load_checkpoint(run)
    assert found is not None
    assert found.step == 1
    assert not sentinel.exists()
    pickle.loads(bomb)  # the bomb does work
    assert sentinel.exists()


def test_a_manifest_cannot_name_files_outside_its_folder(run):
    save_checkpoint(run, make_checkpoint(1), keep=1)
    path = folder(run, 1) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"]["../../secret"] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="not a name inside"):
        load_checkpoint(run, 1)
