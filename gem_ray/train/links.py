"""Where to look while a run goes on: said once, at its start."""

from __future__ import annotations

import logging
import os
from urllib.parse import quote

import ray

from gem_ray.config import GemConfig
from gem_ray.storage import Storage
from gem_ray.structured_log import say
from gem_ray.train.run_log import TENSORBOARD

BOARD = "gem-ray"  # uid of cluster/monitoring/grafana/boards/gem_ray.json


def say_links(config: GemConfig, run: Storage) -> None:
    """Say where dashboard, metrics, TensorBoard and report are, and Grafana where it is known. Ray must be up."""
    for name, place in links(config, run).items():
        say(f"  {name:12} {place}", link=name, place=place)


def links(config: GemConfig, run: Storage) -> dict[str, str]:
    """Places by name; what there is not, is left out."""
    # Also a Ray that this process has joined says its dashboard here, and nowhere else in public.
    context = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR)
    prometheus = os.environ.get("RAY_PROMETHEUS_HOST")
    grafana = config.run.grafana_url or os.environ.get("RAY_GRAFANA_IFRAME_HOST") or os.environ.get("RAY_GRAFANA_HOST")
    found = {
        "dashboard": f"http://{context.dashboard_url}" if context.dashboard_url else None,
        "prometheus": prometheus,
        "grafana": f"{grafana.rstrip('/')}/d/{BOARD}?var-run={quote(config.run.name)}" if grafana else None,
        "tensorboard": f"tensorboard --logdir {run.local_path if run.is_local else run.uri}/{TENSORBOARD}",
        "report": f"{run.local_path if run.is_local else run.uri}/report.html, once the run has ended",
    }
    return {name: place for name, place in found.items() if place}
