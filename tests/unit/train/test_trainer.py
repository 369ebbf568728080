"""The driver's own rules: one shape per run, and data that were prepared."""

import pytest

from gem_ray.config import DataConfig, GemConfig, RunConfig, StorageConfig, TrainConfig
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage
from gem_ray.train.trainer import check_same_run, ensure_data, run_storage, with_absolute_paths


def make_config(tmp_path, **train):
    return GemConfig(run=RunConfig(uri=str(tmp_path), name="r"), train=TrainConfig(**train))


def test_a_run_goes_on_with_more_steps_but_not_with_another_seed(tmp_path):
    config = make_config(tmp_path, steps=10)
    run = run_storage(config)
    check_same_run(config, run)
    run.write_bytes("checkpoints/step_000000010/manifest.json", b"{}")
    check_same_run(make_config(tmp_path, steps=20), run)
    with pytest.raises(ConfigError, match=r"train.seed=0, now it is 1"):
        check_same_run(make_config(tmp_path, steps=20, seed=1), run)


def test_missing_data_names_the_command_that_makes_it(tmp_path):
    config = make_config(tmp_path)
    config.prepare.source = "photos.zip"
    config.data = DataConfig(uri=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"jobs\.prepare"):
        ensure_data(config, Storage(config.data.uri, StorageConfig()))


def test_local_folders_are_made_absolute_and_other_uris_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = GemConfig(run=RunConfig(uri="runs"), data=DataConfig(uri="s3://bucket/faces"))
    assert with_absolute_paths(config).run.uri == str(tmp_path / "runs")
    assert with_absolute_paths(config).data.uri == "s3://bucket/faces"
    assert config.run.uri == "runs"
