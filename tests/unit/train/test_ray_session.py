"""The local Ray: room for every part, and a token that only its owner reads."""

import math

import pytest

from gem_ray.config import GemConfig, PrepareConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.errors import ConfigError
from gem_ray.train.ray_session import close_token_file, local_cpus, running_ray


def test_a_local_ray_has_room_for_workers_scorer_and_data_tasks_at_once():
    config = GemConfig(
        train=TrainConfig(num_workers=64),
        prepare=PrepareConfig(concurrency=2),
        scoring=ScoringConfig(max_replicas=2, num_cpus=1.5),
    )
    assert local_cpus(config) == 64 + math.ceil(4.5) + 2 + 1  # a third scorer, while the MLLM is changed
    config.scoring.scorer = "none"
    assert local_cpus(config) == 64 + 2 + 1


def test_the_token_file_is_closed_to_others(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    close_token_file()
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_ray_that_is_not_up_is_an_error_with_its_address():
    with pytest.raises(ConfigError, match=r"no Ray is up at '127\.0\.0\.2:1'.*start the run first"):
        with running_ray(GemConfig(run=RunConfig(address="127.0.0.2:1"))):
            pass
