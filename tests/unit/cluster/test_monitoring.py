"""The files in cluster/monitoring: every expression names metrics that exist, and Prometheus takes all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gem_ray.telemetry import METRICS, Kind

FOLDER = Path(__file__).parents[3] / "cluster" / "monitoring"
DOCS = Path(__file__).parents[3] / "docs"
BOARD = json.loads((FOLDER / "grafana" / "boards" / "gem_ray.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]

# What Ray 2.60 and Prometheus export of their own, of which we make use: seen in a scrape, see
# tests/integration/test_monitoring.py, but for the lost nodes and the GPUs, which a laptop does not have.
OF_RAY = {
    "ray_cluster_active_nodes",
    "ray_node_cpu_utilization",
    "ray_node_disk_utilization_percentage",
    "ray_node_mem_total",
    "ray_node_mem_used",
    "ray_object_store_used_memory",
    "ray_serve_deployment_queued_queries",
    "ray_serve_deployment_replica_healthy",
    "up",
}
OF_RAY_UNSEEN = {
    "ray_cluster_failed_nodes": "cluster_failed_nodes",
    "ray_node_gpus_utilization": "node_gpus_utilization",
}
WORDS = set(["by", "without", "on", "ignoring", "and", "or", "unless", "offset", "bool", "Inf"])
FUNCTIONS = set(["max", "sum", "rate", "increase", "histogram_quantile", "last_over_time"])

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus (CI does)"
)


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def board_expressions() -> list[str]:
    """As Grafana sends them."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [expr.replace("$run", ".*").replace("$__rate_interval", "5m") for expr in found]


def expressions() -> list[str]:
    return board_expressions() + [rule["expr"] for rule in RULES]


def names_in(expression: str) -> set[str]:
    """Names of metrics in a PromQL expression: what is left without strings, matchers, groupings and words."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|offset\s+\w+|\b(by|without|on|ignoring)\s*\([^)]*\)", " ", text)
    return set(re.findall(r"[a-zA-Z_][a-zA-Z0-9_]*", text)) - WORDS - FUNCTIONS


def known_names() -> set[str]:
    ours = set()
    for metric in METRICS.values():
        ours |= (
            {metric.series + end for end in ("_bucket", "_count")} if metric.kind is Kind.HISTOGRAM else {metric.series}
        )
    return ours | OF_RAY | OF_RAY_UNSEEN.keys()


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('max by (run, x) (a_b{run="c", d=~"e"}) / sum(rate(f_total[5m] offset 10m)) > 0.2', {"a_b", "f_total"}),
        (
            "histogram_quantile(0.9, sum by (le) (rate(g_bucket[1m]))) and on (run) h unless i > -Inf",
            {"g_bucket", "h", "i"},
        ),
    ],
)
def test_names_are_found_in_expressions(expression, names):
    assert names_in(expression) == names


def test_every_expression_names_metrics_that_are_exported_and_nothing_else():
    assert len(expressions()) > 80
    assert {expression: names for expression in expressions() if (names := names_in(expression) - known_names())} == {}


def test_the_board_shows_every_metric_that_we_record():
    shown = {name.removesuffix("_bucket") for expression in board_expressions() for name in names_in(expression)}
    assert {metric.series for metric in METRICS.values()} - shown == set()


def test_what_a_laptop_cannot_show_is_named_so_in_ray():
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert [name for name in OF_RAY_UNSEEN.values() if name not in METRICS_GAUGES] == []


def test_the_board_answers_five_questions_and_each_panel_says_what_it_shows():
    assert [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"] == [
        "Is it training?",
        "Is it waiting for data?",
        "Is the graph alive?",
        "Is the MLLM keeping up?",
        "What does it cost?",
    ]
    assert [panel["title"] for panel in panels() if not panel["description"]] == []
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in panels()]
    overlapping = [
        (a, b) for k, a in enumerate(places) for b in places[:k]
        if a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
    ]  # fmt: skip
    assert overlapping == []
    assert [place for place in places if place[0] + place[2] > 24] == []


def test_grafana_finds_the_prometheus_and_the_boards():
    provisioning = FOLDER / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "${PROMETHEUS_URL}")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "boards.yml").read_text())["providers"]
    assert provider["options"] == {"path": "/etc/grafana/boards"}
    assert BOARD["templating"]["list"][0]["query"] == source["type"]
    sources = {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]}
    assert sources == {"${datasource}"}


def test_every_alert_fires_in_one_test_and_keeps_quiet_in_another():
    cases = [case for test in TESTS for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    quiet = {case["alertname"] for case in cases if not case["exp_alerts"]}
    names = [rule["alert"] for rule in RULES]
    assert sorted(fired) == sorted(names)
    assert sorted(quiet) == sorted(names)
    assert len(set(names)) == len(names)


def test_the_manual_says_of_every_alert_what_it_means_and_what_to_do():
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+\|.+) \|$", text, re.MULTILINE))
    assert [rule["alert"] for rule in RULES if rule["alert"] not in rows] == []
    assert [rule["alert"] for rule in RULES if not rule["annotations"]["summary"]] == []


@needs_promtool
def test_promtool_takes_configuration_and_rules():
    for arguments in (("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_unit_tests_pass():
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_unit_tests_fail_where_a_rule_is_wrong(tmp_path):
    shutil.copy(FOLDER / "alerts_test.yml", tmp_path)
    text = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
    assert text.count("> 85") == 1
    (tmp_path / "alerts.yml").write_text(text.replace("> 85", "> 95"))
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert done.returncode != 0
    assert "RayDiskNearlyFull" in done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(("broken", "succeeds"), [([], True), (["sum by (run (x)"], False)])
def test_prometheus_takes_every_expression_of_the_board_and_no_broken_one(tmp_path, broken, succeeds):
    rules = [{"record": f"board:{n}", "expr": expr} for n, expr in enumerate(board_expressions() + broken)]
    (tmp_path / "board.yml").write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = promtool("check", "rules", "board.yml", folder=tmp_path)
    assert (done.returncode == 0) is succeeds, done.stdout + done.stderr
