"""Lines for a person stay as they are; in JSON every line is an object with run, rank, step and graph version."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from gem_ray import structured_log
from gem_ray.errors import TrainingError
from gem_ray.structured_log import WithoutPrefix, configure, configure_driver, is_json, note, say, say_error


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    yield
    configure("text")


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_text_is_printed_as_it_is_and_nothing_is_added(capsys):
    configure("text", run="faces")
    say("step 10/20", step=10)
    say_error(TrainingError("no room"))
    out, err = capsys.readouterr()
    assert out == "step 10/20\n"
    assert err == "\nTrainingError: no room\n"
    assert not is_json()


def test_a_json_line_says_run_rank_step_and_graph_version(capsys):
    configure("json", run="faces", rank=0)
    note(step=7, graph_version=3)
    say("step 7/20", images_per_s=412.5)
    (line,) = lines(capsys)
    assert (line["run"], line["rank"], line["step"], line["graph_version"]) == ("faces", 0, 7, 3)
    assert (line["message"], line["level"], line["images_per_s"]) == ("step 7/20", "INFO", 412.5)
    assert line["time"].endswith("+00:00")


def test_warnings_of_our_modules_and_errors_are_json_too(capsys):
    configure("json", run="faces")
    logging.getLogger("gem_ray.graph.actor").warning("no snapshot\nof version %d", 4)
    try:
        raise ValueError("deep down")
    except ValueError:
        logging.getLogger("gem_ray.x").exception("it failed")
    say_error(TrainingError("no room"))
    warning, failure, error = lines(capsys)
    assert (warning["message"], warning["level"]) == ("no snapshot\nof version 4", "WARNING")
    assert "ValueError: deep down" in failure["exception"]
    assert (error["level"], error["error"], error["message"]) == ("ERROR", "TrainingError", "no room")


def test_configured_again_a_process_writes_each_line_once_and_forgets_what_it_was(capsys):
    configure("json", run="first", rank=1)
    configure("json", run="second")
    say("here")
    (line,) = lines(capsys)
    assert line["run"] == "second"
    assert "rank" not in line


def test_a_driver_takes_rays_prefix_off_json_lines_and_off_nothing_else(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    configure_driver("json", "faces")
    assert isinstance(sys.stdout, WithoutPrefix)
    configure_driver("json", "faces")  # once is enough
    print('(RayTrainWorker pid=7, ip=10.0.0.2) {"step": 1}')
    print('\x1b[36m(Rescorer pid=8)\x1b[0m {"step": 2}\n(GraphStore pid=9) plain (pid=3) {text}')
    assert stream.getvalue().splitlines() == ['{"step": 1}', '{"step": 2}', "(GraphStore pid=9) plain (pid=3) {text}"]


def test_a_value_that_json_does_not_know_is_written_in_words(capsys):
    configure("json")
    say("odd", error=TrainingError("cause"))
    assert lines(capsys)[0]["error"] == "cause"
    assert structured_log.is_json()
