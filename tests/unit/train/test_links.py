"""Where a person looks is said where it is known, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gem_ray.config import GemConfig, RunConfig, StorageConfig
from gem_ray.storage import Storage
from gem_ray.train.links import links


@pytest.fixture(autouse=True)
def _a_ray(monkeypatch):
    monkeypatch.setattr(
        "gem_ray.train.links.ray.init", lambda **options: SimpleNamespace(dashboard_url="127.0.0.1:8265")
    )
    for name in ("RAY_GRAFANA_HOST", "RAY_GRAFANA_IFRAME_HOST", "RAY_PROMETHEUS_HOST"):
        monkeypatch.delenv(name, raising=False)


def test_a_laptop_has_dashboard_tensorboard_and_report(tmp_path):
    found = links(GemConfig(), Storage(str(tmp_path / "faces"), StorageConfig()))
    assert found == {
        "dashboard": "http://127.0.0.1:8265",
        "tensorboard": f"tensorboard --logdir {tmp_path}/faces/tensorboard",
        "report": f"{tmp_path}/faces/report.html, once the run has ended",
    }


def test_a_cluster_names_its_prometheus_and_the_board_of_this_run(monkeypatch):
    monkeypatch.setenv("RAY_GRAFANA_HOST", "http://grafana:3000/")
    monkeypatch.setenv("RAY_PROMETHEUS_HOST", "http://prometheus:9090")
    run = Storage("s3://bucket/runs/faces-1", StorageConfig())
    found = links(GemConfig(run=RunConfig(name="faces-1")), run)
    assert found["grafana"] == "http://grafana:3000/d/gem-ray?var-run=faces-1"
    assert found["prometheus"] == "http://prometheus:9090"
    assert found["tensorboard"] == "tensorboard --logdir s3://bucket/runs/faces-1/tensorboard"
    given = links(GemConfig(run=RunConfig(name="faces-1", grafana_url="https://board.example")), run)
    assert given["grafana"] == "https://board.example/d/gem-ray?var-run=faces-1"
