"""The driver's own rules: data that were prepared, and an end where the last checkpoint is whole."""

import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, GemConfig, RunConfig, ScoringConfig, StorageConfig, TrainConfig
from gem_ray.errors import DataError
from gem_ray.storage import Storage
from gem_ray.train import trainer
from gem_ray.train.trainer import doubt_about_mllm, ensure_data


def make_config(tmp_path, **train):
    return GemConfig(run=RunConfig(uri=str(tmp_path), name="r"), train=TrainConfig(**train))


@pytest.mark.parametrize(("damaged", "trained"), [(False, 0), (True, 1)])
def test_a_run_is_complete_where_its_last_checkpoint_can_be_read(tmp_path, monkeypatch, damaged, trained):
    starts = []
    monkeypatch.setattr(trainer, "ray_session", lambda config: nullcontext())
    monkeypatch.setattr(trainer, "ensure_data", lambda config, data: None)
    monkeypatch.setattr(trainer, "run_training", lambda *arguments: starts.append(arguments))
    config = make_config(tmp_path, steps=20)
    run = trainer.run_storage(config)
    for step in (10, 20):
        save_checkpoint(run, Checkpoint(step=step, model={"w": torch.ones(3)}, graph_json="{}", state={}), keep=2)
    if damaged:
        run.write_bytes("checkpoints/step_000000020/model.safetensors", b"")
    trainer.reach_last_step(config, run, Storage(str(tmp_path / "data"), StorageConfig()))
    assert len(starts) == trained


def test_missing_data_names_the_command_that_makes_it(tmp_path):
    config = make_config(tmp_path)
    config.prepare.source = "photos.zip"
    config.data = DataConfig(uri=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"jobs\.prepare"):
        ensure_data(config, Storage(config.data.uri, StorageConfig()))


@pytest.mark.parametrize(
    ("scoring", "told"),
    [
        (ScoringConfig(scorer="none", model="org/vlm"), r"model=org/vlm .*scorer=none; set scoring.scorer=vllm"),
        (ScoringConfig(scorer="vllm", model="nano"), r"nano"),
    ],
)
def test_an_mllm_that_will_tell_nothing_about_photographs_is_doubted(tmp_path, scoring, told):
    config = replace(make_config(tmp_path), scoring=scoring)
    assert re.search(told, doubt_about_mllm(config, "photos.zip") or "")


def test_without_an_mllm_and_with_the_shipped_one_on_faces_there_is_no_doubt(tmp_path):
    for scorer in ("none", "vllm"):
        config = replace(make_config(tmp_path), scoring=ScoringConfig(scorer=scorer))
        assert doubt_about_mllm(config, "faces") is None
