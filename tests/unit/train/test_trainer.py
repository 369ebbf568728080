"""The driver's own rules: one shape per run, our errors found in Ray's wrapping."""

import pytest
import ray.train

from gem_ray.config import DataConfig, GemConfig, RunConfig, StorageConfig, TrainConfig
from gem_ray.errors import ConfigError, DataError, TrainingError
from gem_ray.storage import Storage
from gem_ray.train.trainer import StopOnOwnErrors, check_same_run, ensure_data, own_error, run_storage


def make_config(tmp_path, **train):
    return GemConfig(run=RunConfig(uri=str(tmp_path), name="r"), train=TrainConfig(**train))


def test_an_error_of_ours_is_found_inside_what_ray_wraps():
    ours = TrainingError("the cause")
    cause = RuntimeError("wrapped")
    cause.__cause__ = ours
    assert own_error([ray.train.WorkerGroupError("group", {1: cause})]) is ours
    assert own_error([RuntimeError("not ours")]) is None


def test_the_controller_stops_for_our_errors_and_restarts_for_others():
    StopOnOwnErrors().after_exception(None, {0: RuntimeError("connection closed by peer")})
    with pytest.raises(DataError, match="flipped"):
        StopOnOwnErrors().after_exception(None, {0: RuntimeError("collateral"), 1: DataError("flipped byte")})


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
