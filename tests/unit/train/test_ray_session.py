"""The local Ray: room for every part, and a token that only its owner reads."""

import math
import os
import subprocess
import sys

import pytest

from gem_ray.config import GemConfig, PrepareConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.errors import ConfigError, TrainingError
from gem_ray.train.ray_session import close_token_file, local_cpus, running_ray, start_ray


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


class FirstStartsHang:
    """A ``ray.init`` whose control process hangs the first few times."""

    def __init__(self, failures):
        self.failures = failures
        self.hanging = []
        self.addresses = []

    def __call__(self, **options):
        self.addresses.append((os.environ["RAY_ADDRESS"], options["_node_ip_address"]))
        if len(self.hanging) == self.failures:
            return "the context"
        self.hanging.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        raise RuntimeError("Timed out waiting for file gcs_server_port")


def test_a_ray_whose_control_process_hangs_is_started_anew_elsewhere(monkeypatch):
    init = FirstStartsHang(failures=1)
    monkeypatch.setattr("ray.init", init)
    assert start_ray(num_cpus=1) == "the context"
    assert len(set(init.addresses)) == 2
    assert init.hanging[0].wait(timeout=10) != 0  # what hung was ended
    assert "RAY_ADDRESS" not in os.environ


def test_a_ray_that_never_starts_is_an_error_that_names_the_cause(monkeypatch):
    init = FirstStartsHang(failures=9)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(TrainingError, match=r"in 2 attempts: Timed out waiting for file gcs_server_port.*gcs_server"):
        start_ray(num_cpus=1)
    assert [process.wait(timeout=10) != 0 for process in init.hanging] == [True, True]


def test_a_ray_without_a_dashboard_is_not_looked_for_where_another_one_may_have_its_own(monkeypatch):
    ports = []
    monkeypatch.setattr("ray.init", lambda **options: ports.append(options.get("dashboard_port")))
    start_ray(include_dashboard=False)
    start_ray(include_dashboard=True)
    assert ports[0] not in {None, 8265}
    assert ports[1] is None, "a real one finds a free port by itself, from the known one on"
