"""The driver's own rules: one shape per run, and data that were prepared."""

import re
from dataclasses import replace

import pytest

from gem_ray.config import DataConfig, GemConfig, RunConfig, ScoringConfig, StorageConfig, TrainConfig
from gem_ray.errors import ConfigError, DataError
from gem_ray.storage import Storage
from gem_ray.train.trainer import check_same_run, doubt_about_mllm, ensure_data, run_storage


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
