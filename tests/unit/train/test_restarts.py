"""Restarts are counted by what the first failed rank died of."""

from __future__ import annotations

from gem_ray.train.restarts import CountRestarts


def test_a_restart_is_counted_by_the_cause_of_the_lowest_failed_rank(recorded):
    CountRestarts("faces").after_exception(None, {1: RuntimeError("collateral"), 0: ConnectionError("gone")})
    assert recorded == [("gem_train_restarts", 1.0, {"run": "faces", "cause": "ConnectionError"})]
