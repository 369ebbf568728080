"""One list of metric names, each recorded somewhere, and typing errors are errors."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gem_ray.telemetry import COUNTERS, GAUGES, TAGS, _metric, add_count, set_gauge

ROOT = Path(__file__).parents[2]
NAMES = [*GAUGES, *COUNTERS]


def recorded(*functions: str) -> set[str]:
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


def test_names_are_unique_and_carry_the_prefix():
    assert len(NAMES) == len(set(NAMES))
    assert [name for name in NAMES if not re.fullmatch(r"gem_[a-z]+(_[a-z]+)+", name)] == []
    # Prometheus adds _total to counters: a name that ends so would carry it twice.
    assert [name for name in NAMES if name.endswith("_total")] == []
    assert all((GAUGES | COUNTERS).values())


def test_every_name_is_recorded_somewhere_and_nothing_else_is():
    assert recorded("set_gauge") == set(GAUGES)
    assert recorded("add_count", "_count") == set(COUNTERS)  # the publisher is handed add_count


def test_an_unknown_name_is_a_key_error():
    for name in ("gem_train_stpe", *COUNTERS):
        with pytest.raises(KeyError, match=name):
            set_gauge(name, 1.0, "run")
    for name in ("gem_pushes", *GAUGES):
        with pytest.raises(KeyError, match=name):
            add_count(name, 1.0, "run")


def test_an_unknown_name_is_noticed_even_where_nothing_is_added():
    with pytest.raises(KeyError):
        add_count("gem_pushes", 0.0, "run")


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_can_be_made_and_belongs_to_a_run(name):
    metric = _metric(name)
    assert metric is _metric(name)
    assert metric.info["name"] == name
    assert metric.info["description"] == (GAUGES | COUNTERS)[name]
    assert metric.info["tag_keys"] == TAGS.get(name, ("run",))
    assert "run" in metric.info["tag_keys"]


def test_tags_are_of_known_names():
    assert set(TAGS) <= set(NAMES)


def test_importing_the_names_does_not_import_ray():
    code = "import sys, gem_ray.telemetry; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
