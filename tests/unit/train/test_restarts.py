"""Restarts are counted by what the first failed rank died of, and wait for nobody's farewell."""

from __future__ import annotations

import os

from ray.train.constants import TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S
from ray.train.v2._internal.constants import get_env_vars_to_propagate

from gem_ray.train.restarts import CountRestarts, EndFailedGroupsSoon


def test_a_restart_is_counted_by_the_cause_of_the_lowest_failed_rank(recorded):
    CountRestarts("faces").after_exception(None, {1: RuntimeError("collateral"), 0: ConnectionError("gone")})
    assert recorded == [("gem_train_restarts", 1.0, {"run": "faces", "cause": "ConnectionError"})]


def test_a_failed_group_waits_a_second_for_its_farewell(monkeypatch):
    monkeypatch.setenv(TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S, "30")
    EndFailedGroupsSoon().after_exception(None, {0: RuntimeError("hangs")})
    assert os.environ[TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S] == "1"
    # Once Ray Train hands it on by itself, the callback is needed no longer.
    assert TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S not in get_env_vars_to_propagate()
