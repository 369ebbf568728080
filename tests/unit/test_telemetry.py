"""One list of metrics: each recorded somewhere and nothing else, in a table that is up to date."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gem_ray.telemetry import METRICS, Kind, _metric, add_count, observe, set_gauge, table

ROOT = Path(__file__).parents[2]
# What records, by the name it is called by: the functions themselves, and what a run's part is handed.
RECORDING = {
    Kind.GAUGE: {"set_gauge", "gauge"},
    Kind.COUNTER: {"add_count", "_count"},
    Kind.HISTOGRAM: {"observe", "_observe"},
}


def recorded(functions: set[str]) -> set[str]:
    """First arguments of all calls of these functions, wherever they stand."""
    found = set()
    for package in ("gem_ray", "jobs", "serve"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                    if called in functions:
                        found.add(node.args[0].value)
    return found


@pytest.mark.parametrize("kind", Kind)
def test_every_name_is_recorded_somewhere_and_nothing_else_is(kind):
    assert recorded(RECORDING[kind]) == {metric.name for metric in METRICS.values() if metric.kind is kind}


def test_names_carry_the_prefix_and_no_ending_that_prometheus_adds():
    wrong = [
        name
        for name in METRICS
        if not re.fullmatch(r"gem(_[a-z]+){2,}", name) or name.endswith(("_total", "_bucket", "_count", "_sum"))
    ]
    assert wrong == []
    assert [name for name, metric in METRICS.items() if not (metric.help and metric.unit and metric.part)] == []


def test_the_table_in_the_documentation_is_the_list():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert text.endswith(table()), "run `python -m gem_ray.telemetry` and put what it prints below the introduction"


@pytest.mark.parametrize("record", [set_gauge, add_count, observe])
def test_an_unknown_name_or_one_of_another_kind_is_a_key_error(record):
    kind = {set_gauge: Kind.GAUGE, add_count: Kind.COUNTER, observe: Kind.HISTOGRAM}[record]
    for name in ("gem_train_stpe", *(metric.name for metric in METRICS.values() if metric.kind is not kind)):
        with pytest.raises(KeyError, match=name):
            record(name, 0.0, run="run")  # also where nothing is added


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_every_metric_can_be_made(metric):
    made = _metric(metric.name)
    assert made is _metric(metric.name)
    assert made.info["name"] == metric.name
    assert made.info["description"] == metric.help
    assert made.info["tag_keys"] == metric.labels


def test_a_label_that_the_list_does_not_name_is_refused():
    with pytest.raises(ValueError, match="node"):
        set_gauge("gem_train_step", 1.0, run="r", node="x")
    with pytest.raises(ValueError, match="run"):
        set_gauge("gem_train_step", 1.0)


def test_without_a_ray_nothing_is_recorded():
    code = """
import sys
from gem_ray import telemetry
telemetry.set_gauge("gem_train_step", 1.0, run="r")
telemetry.add_count("gem_storage_retries", 1, operation="read")
sys.exit("ray" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
