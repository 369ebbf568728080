"""The code that is sent is small, whole, and without secrets."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml

from gem_ray.errors import ConfigError
from gem_ray.submission.package import check_size, read_runtime_env
from gem_ray.train.ray_environment import (
    AUTOSCALING_ENVIRONMENT,
    CLUSTER_ENVIRONMENT,
    QUIET_ENVIRONMENT,
    TRAIN_ENVIRONMENT,
)

ROOT = Path(__file__).parents[3]
FILE = ROOT / "cluster" / "runtime_env.yaml"


def test_a_cluster_gets_the_environment_that_a_local_ray_gets():
    found = read_runtime_env(FILE, ROOT)
    assert found["working_dir"] == str(ROOT)
    local = TRAIN_ENVIRONMENT | QUIET_ENVIRONMENT | AUTOSCALING_ENVIRONMENT | CLUSTER_ENVIRONMENT
    stop = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "90"}
    assert found["env_vars"] == local | stop


def test_what_ray_would_send_is_the_code_alone_and_all_of_it():
    from gem_ray.submission.cluster import package_sizes

    settings = read_runtime_env(FILE, ROOT)
    sizes = package_sizes(settings["working_dir"], settings["excludes"])
    assert {name.split("/")[0] for name in sizes if "/" in name} == {"gem_ray", "jobs", "serve", "configs"}
    assert {"jobs/train.py", "configs/config.yaml", "gem_ray/scoring/nano/model.safetensors"} <= set(sizes)
    assert sum(sizes.values()) < 12e6


def test_a_package_over_the_bound_names_its_largest_files():
    sizes = {"gem_ray/a.py": 1_000, "data/big.bin": 30_000_000}
    assert check_size(sizes, 31, "env.yaml") == pytest.approx(30.001)
    with pytest.raises(ConfigError, match=re.escape("data/big.bin (30.0 MB)")) as caught:
        check_size(sizes, 24, "env.yaml")
    assert "submit.max_mb=24" in str(caught.value)
    assert "env.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"working_dir": ".", "env_vars": {"AWS_SECRET_ACCESS_KEY": "canary-1"}}, "AWS_SECRET_ACCESS_KEY"),
        ({"working_dir": ".", "env_vars": {"HF_TOKEN": "canary-1"}}, "HF_TOKEN"),
        ({"working_dir": "nowhere"}, "nowhere"),
        ({"working_dir": ".", "pip": ["torch"]}, "pip"),
        ({"excludes": []}, "working_dir"),
    ],
)
def test_an_environment_with_a_secret_or_a_gap_is_refused(tmp_path, content, message):
    path = tmp_path / "env.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=message) as caught:
        read_runtime_env(path, tmp_path)
    assert "canary-1" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(os.fspath(tmp_path / "none.yaml"))):
        read_runtime_env(tmp_path / "none.yaml", tmp_path)
