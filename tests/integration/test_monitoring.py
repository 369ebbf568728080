"""A real Prometheus scrapes a real local Ray through its service discovery file while a real run trains and is scored.

What is asked of it afterwards: do the values make sense, does every panel of the board show something, does what goes
wrong on purpose raise its alert, and is there nothing where nothing is recorded or scraped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.errors import TrainingError
from gem_ray.evaluation.history import read_metrics
from gem_ray.telemetry import METRICS, Kind
from gem_ray.train.ray_environment import TRAIN_ENVIRONMENT
from gem_ray.train.ray_session import start_ray
from gem_ray.train.trainer import run_storage, train

pytestmark = [
    pytest.mark.ray,
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed: apt-get install prometheus"
    ),
]
MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"
BOARD = json.loads((MONITORING / "grafana" / "boards" / "gem_ray.json").read_text(encoding="utf-8"))
RUN, BLOCKED, STEPS, IMAGES = "watched", "blocked", 400, 1_000

# Metrics that a run which loses one worker and has one checkpoint refused does not record, and why.
ABSENT = {
    "gem_train_not_finite": "every loss is finite",
    "gem_data_images_skipped": "drawn faces are never bad",
    "gem_data_shards_damaged": "no shard is damaged",
    "gem_storage_retries": "a local folder is not tried again",
    "gem_graph_snapshot_failures": "the disk has room",
    "gem_gateway_requests": "no gateway is up",
    "gem_gateway_seconds": "no gateway is up",
}
# Those that it may record, by how the rescorer and training fall together.
CHANCE = {
    "gem_graph_refusals": "a look at a model that the graph has left behind",
    "gem_questions_missing": "an answer that did not come in time",
    "gem_questions_stored": "an image that was asked about before",
    "gem_question_request_failures": "a request that Serve has no room for",
}
NO_LAPTOP_HAS = {"ray_cluster_failed_nodes", "ray_node_gpus_utilization"}
LAST = "max(last_over_time(ray_gem_{}[30m]))"
TOTAL = "sum(last_over_time(ray_gem_{}_total[30m]))"
EMPTY_PANELS = {"Gateway", "GPUs in use"}
CHANCE_PANELS = {"Failures"}


@dataclass
class Prometheus:
    """A running server, and what is asked of it."""

    url: str

    def query(self, expression: str, at: float | None = None) -> dict[str, float]:
        """Value of every series by its labels; without a time, now."""
        parameters = {"query": expression} | ({} if at is None else {"time": str(at)})
        found = self._get("query", parameters)["result"]
        return {json.dumps(series["metric"], sort_keys=True): float(series["value"][1]) for series in found}

    def value(self, expression: str) -> float:
        """The one value."""
        (value,) = self.query(expression).values()
        return value

    def points(self, expression: str, start: float, end: float) -> int:
        """How many points a panel would draw."""
        # A step more: what came last lies between two of them.
        parameters = {"query": expression, "start": str(start), "end": str(end + 10), "step": "10"}
        return sum(len(series["values"]) for series in self._get("query_range", parameters)["result"])

    def alerts(self) -> set[tuple[str, str]]:
        """(alert, run) of what fires."""
        firing = [alert["labels"] for alert in self._get("alerts", {})["alerts"] if alert["state"] == "firing"]
        return {(labels["alertname"], labels.get("run", "")) for labels in firing}

    def targets(self) -> list[dict[str, Any]]:
        """What is scraped."""
        active: list[dict[str, Any]] = self._get("targets", {"state": "active"})["activeTargets"]
        return active

    def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.load(urllib.request.urlopen(address, timeout=30))
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        assert answer["status"] == "success", answer
        data: dict[str, Any] = answer["data"]
        return data


@dataclass
class Watched:
    """All that the tests look at: the server, when the run took place, and the series that were there at its end."""

    prometheus: Prometheus
    start: float
    end: float
    names: set[str]
    fired: set[tuple[str, str]]
    healthy_fired: set[tuple[str, str]]


def make_config(folder: Path, name: str, scorer: str, **train_options: Any) -> GemConfig:
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=name),
        data=DataConfig(uri=str(folder / "faces"), batch_size=32, holdout=64),
        prepare=PrepareConfig(num_images=IMAGES, image_size=32, shard_mb=1),
        model=ModelConfig(residual_dim=4),
        objective=ObjectiveConfig(align_batch=8),
        graph=GraphConfig(poll_every_s=0.5),
        train=TrainConfig(**{"checkpoint_every_steps": 50, "log_every_steps": 10, "log_every_s": 2, **train_options}),
        scoring=ScoringConfig(
            scorer=scorer,
            initial_images=256,
            round_every_s=5,
            round_images=32,
            sample_images=32,
            questions_per_minute=3_000,
            price_per_hour=1.0,
        ),
    )


@pytest.fixture(scope="module")
def ray_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Temporary folder of a Ray of this module's own: its service discovery file is there and no other's."""
    folder = Path("/tmp", f"gem-{os.getpid()}")  # Ray's sockets have long names, and a path may have 107 characters
    with pytest.MonkeyPatch.context() as patch:
        for name, value in TRAIN_ENVIRONMENT.items():
            patch.setenv(name, value)
        start_ray(
            num_cpus=7,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            object_store_memory=300_000_000,
            _temp_dir=str(folder),
        )
        yield folder
        ray.shutdown()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def prometheus(ray_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(folder, ray_folder / "prom_metrics_service_discovery.json") as server:
        yield server


class serving:
    """A Prometheus with the project's own configuration, but quicker and of another service discovery file."""

    def __init__(self, folder: Path, discovery: Path) -> None:
        self._folder, self._discovery = folder, discovery

    def __enter__(self) -> Prometheus:
        wanted = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
        wanted["global"] = {"scrape_interval": "2s", "evaluation_interval": "2s"}
        wanted["rule_files"] = [str(MONITORING / name) for name in wanted["rule_files"]]
        (job,) = wanted["scrape_configs"]
        job["file_sd_configs"] = [{"files": [str(self._discovery)], "refresh_interval": "2s"}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(wanted))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={self._folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        server = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: is_up(server) or self._process.poll() is not None, 60, "Prometheus did not start")
        assert self._process.poll() is None, (self._folder / "log").read_text()
        return server

    def __exit__(self, *reason: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()


def is_up(server: Prometheus) -> bool:
    try:
        return urllib.request.urlopen(f"{server.url}/-/ready", timeout=5).status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_until(condition: Any, timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} in {timeout_s:g} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def watched(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run with the shipped MLLM that loses a worker, then one whose first checkpoint has no room."""
    folder, start = tmp_path_factory.mktemp("run"), time.time()
    config = make_config(folder, RUN, "vllm", steps=STEPS)
    killing = threading.Thread(target=kill_a_worker, args=(config,), daemon=True)
    killing.start()
    train(config)
    killing.join()
    last = LAST.format(f'checkpoint_step{{run="{RUN}"}}')  # the series itself has ended with the workers
    wait_until(lambda: prometheus.query(f"{last} == {STEPS}"), 30, "no last checkpoint")
    healthy = prometheus.alerts()

    blocked = make_config(folder, BLOCKED, "none", steps=STEPS)
    place = run_storage(blocked).local_path / "checkpoints"
    place.parent.mkdir(parents=True)
    place.symlink_to("/proc/none")  # nothing can be made behind it, not even by root
    with pytest.raises(TrainingError, match="checkpoint of step 50 could not be written"):
        train(blocked)
    wait_until(lambda: ("GemCheckpointFailing", BLOCKED) in prometheus.alerts(), 60, "no alert")
    names = {json.loads(labels)["__name__"] for labels in prometheus.query('last_over_time({__name__=~".+"}[30m])')}
    return Watched(prometheus, start, time.time(), names, prometheus.alerts(), healthy)


def kill_a_worker(config: GemConfig) -> None:
    run = run_storage(config)
    wait_until(lambda: any(line["step"] >= STEPS // 3 for line in read_metrics(run)), 400, "no third of the steps")
    started = next(line for line in read_metrics(run) if line.get("event") == "started")
    os.kill(started["pids"][1], signal.SIGKILL)


@pytest.mark.parametrize(
    ("expression", "low", "high"),
    [
        (LAST.format('train_step{run="watched"}'), STEPS, STEPS),
        (LAST.format('train_steps_wanted{run="watched"}'), STEPS, STEPS),
        (LAST.format("train_workers"), 2, 2),
        (LAST.format("train_images_per_second"), 5, 100_000),
        (
            LAST.format('train_loss{run="watched"}'),
            500,
            3_000,
        ),  # ln(2) of 3,072 pixels is 2,129 before anything is learnt
        (LAST.format('train_gradient_norm{run="watched"}'), 0.1, 1e6),
        ('sum(max by (part) (last_over_time(ray_gem_train_step_seconds{run="watched"}[30m])))', 0.002, 20),
        (LAST.format('train_idle_share{run="watched"}'), 0.0, 1.0),
        ('count(max by (node) (last_over_time(ray_gem_train_kl_node{run="watched"}[30m])))', 7, 7),
        (TOTAL.format("train_restarts"), 1, 1),
        (LAST.format('checkpoint_step{run="watched"}'), STEPS, STEPS),
        ('sum(last_over_time(ray_gem_checkpoint_seconds_count{run="watched"}[30m]))', STEPS // 50, STEPS // 50 + 3),
        (TOTAL.format("checkpoint_bytes"), 1e6, 1e9),
        (TOTAL.format("data_images_prepared"), IMAGES, IMAGES),
        # Two runs and a report read every shard; the rescorer reads some again and again.
        (TOTAL.format("data_bytes_read") + " / " + TOTAL.format("data_bytes_written"), 2, 100),
        (LAST.format('graph_version{run="watched"}'), 2, 500),
        (
            "{} - {}".format(
                LAST.format('graph_version{run="watched"}'), LAST.format('train_graph_version{run="watched"}')
            ),
            0,
            20,
        ),
        (LAST.format('graph_confidence{run="watched"}'), 0.3, 1.0),
        (LAST.format("graph_known_edges"), 30, 30),
        (TOTAL.format("graph_churn"), 1, 100),
        (TOTAL.format("questions_asked"), 256 * 6, 100_000),
        ("{} / {}".format(TOTAL.format("cached_tokens"), TOTAL.format("prompt_tokens")), 0.2, 0.95),
        ("{} / {}".format(TOTAL.format("prompt_tokens"), TOTAL.format("questions_asked")), 50, 120),
        (
            "histogram_quantile(0.5, sum by (le) (last_over_time(ray_gem_question_request_seconds_bucket[30m])))",
            0.01,
            60,
        ),
        (TOTAL.format("scoring_money"), 1e-4, 1),
        (LAST.format("scoring_images"), 256, IMAGES),
        (LAST.format("scoring_budget_left"), 0, 3_000),
        (LAST.format("relation_fidelity_gap"), 0.0, 1.0),
        ("max(last_over_time(ray_node_mem_used[30m]) / last_over_time(ray_node_mem_total[30m]))", 0.01, 1),
    ],
)
def test_key_series_have_sane_values(watched, expression, low, high):
    assert low <= watched.prometheus.value(expression) <= high


def test_every_listed_metric_appears_in_a_real_run_or_there_is_a_reason(watched):
    appeared = {
        name
        for name, metric in METRICS.items()
        if metric.series + ("_bucket" if metric.kind is Kind.HISTOGRAM else "") in watched.names
    }
    assert METRICS.keys() - appeared - ABSENT.keys() - CHANCE.keys() == set()
    assert appeared & ABSENT.keys() == set(), "it does appear: take it off the list of those that do not"
    unlisted = {name for name in watched.names if name.startswith("ray_gem_")}
    ends = ("", "_bucket", "_count", "_sum")
    assert unlisted - {metric.series + end for metric in METRICS.values() for end in ends} == set()


def test_what_we_use_of_rays_own_is_there(watched):
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    expressions = [rule["expr"] for group in rules for rule in group["rules"]]
    expressions += [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]
    used = {name for expression in expressions for name in re.findall(r"\b(?:ray_(?!gem_)\w+|up)\b", expression)}
    assert len(used) > 8
    assert used - watched.names == NO_LAPTOP_HAS


def test_every_panel_of_the_board_shows_something_or_there_is_a_reason(watched):
    drawn = {}
    for panel in BOARD["panels"]:
        if panel["type"] != "row":
            expressions = [target["expr"].replace("$run", ".*") for target in panel["targets"]]
            drawn[panel["title"]] = sum(
                watched.prometheus.points(expression.replace("$__rate_interval", "1m"), watched.start, watched.end)
                for expression in expressions
            )
    assert {title for title, points in drawn.items() if not points} - CHANCE_PANELS == EMPTY_PANELS


def test_all_of_rays_endpoints_are_scraped_by_its_own_service_discovery(watched):
    targets = {target["labels"]["instance"]: target["health"] for target in watched.prometheus.targets()}
    assert {instance.rsplit(":", 1)[1] for instance in targets} >= {"44217", "44227"}
    assert len(targets) == 3
    assert set(targets.values()) == {"up"}


def test_what_goes_wrong_raises_its_alert_and_what_goes_well_raises_none(watched):
    assert {alert for alert, run in watched.healthy_fired if alert.startswith("Gem")} == set()
    assert ("GemCheckpointFailing", BLOCKED) in watched.fired
    assert ("GemCheckpointFailing", RUN) not in watched.fired


def test_a_name_that_nobody_records_has_no_series(watched):
    assert watched.prometheus.query("last_over_time(ray_gem_train_stpe[30m])") == {}


def test_without_rays_service_discovery_nothing_is_there(watched, tmp_path):
    with serving(tmp_path, tmp_path / "no-such-file.json") as blind:
        time.sleep(8)  # four scrapes
        assert blind.query("up") == {}
        assert blind.query(LAST.format("train_step")) == {}
    assert watched.prometheus.query("up") != {}
