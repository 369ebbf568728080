"""How a job ended, and why, in one sentence and one number."""

from __future__ import annotations

import pytest

from gem_ray.submission.messages import cause_in, ending, exit_status, token_places

LOG = """
Traceback (most recent call last):
  File "x.py", line 3, in f
ValueError: inner

\x1b[36mTrainingError: loss term 'kl' is not finite at step 7; lower train.learning_rate\x1b[0m
(worker pid=3) shutting down
"""


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 137, 137),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("FAILED", 0, 1),
        ("STOPPED", None, 130),
    ],
)
def test_the_status_is_the_jobs_own(status, code, expected):
    assert exit_status(status, code) == expected


def test_the_cause_is_the_last_error_in_the_log_without_colours():
    assert cause_in(LOG) == "TrainingError: loss term 'kl' is not finite at step 7; lower train.learning_rate"
    assert (
        cause_in("ray.exceptions.OutOfMemoryError: node is full\n") == "ray.exceptions.OutOfMemoryError: node is full"
    )
    assert cause_in("step 3/7 loss 2.0\nall is well\n") is None


@pytest.mark.parametrize("code", [-9, 137])
def test_a_killed_driver_is_told_from_one_that_failed(code):
    said = ending("train-a-1", "FAILED", code, "last logs: ValueError: x", LOG)
    assert "killed by signal 9" in said
    assert "checkpoint" in said
    assert "ValueError" not in said


def test_a_failure_ends_with_its_cause_from_the_log_or_from_ray():
    assert ending("j", "FAILED", 2, "", LOG).endswith("lower train.learning_rate")
    said = ending("j", "FAILED", None, "RuntimeEnvSetupError: no package x\nmore", "")
    assert said == "j failed before its driver could run: RuntimeEnvSetupError: no package x"


def test_the_places_of_the_token_say_what_is_there_and_never_the_token(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("canary-2")
    said = token_places({"HOME": str(tmp_path), "RAY_AUTH_TOKEN": "canary-1", "RAY_AUTH_TOKEN_PATH": "/nowhere"})
    assert "RAY_AUTH_TOKEN (set)" in said
    assert "/nowhere, not there" in said
    assert f"{tmp_path}/.ray/auth_token (there)" in said
    assert "canary" not in said
