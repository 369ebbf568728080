"""``python -m jobs.prepare`` as a person runs it: from the command line, with a Ray of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def run_job(*overrides: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "jobs.prepare", *overrides]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)


def test_the_job_prepares_and_then_says_that_it_is_complete(tmp_path):
    options = (f"data.uri={tmp_path}", "prepare.num_images=24", "prepare.image_size=16")
    first = run_job(*options)
    assert first.returncode == 0, first.stderr
    assert "24 images of 16 x 16 in 8 shards from faces" in first.stdout
    assert "24/24" in first.stdout
    second = run_job(*options)
    assert second.returncode == 0, second.stderr
    assert "already complete: 24 images" in second.stdout


def test_an_error_ends_in_one_clear_line_and_no_traceback(tmp_path):
    failed = run_job(f"data.uri={tmp_path / 'data'}", f"prepare.source={tmp_path / 'nowhere'}")
    assert failed.returncode == 2
    assert f"DataError: {tmp_path}/nowhere holds no images" in failed.stderr
    assert "Traceback" not in failed.stderr
