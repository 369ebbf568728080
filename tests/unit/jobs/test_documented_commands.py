"""The commands that the documents name: each composes as it stands there, for the job it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gem_ray.submission.entrypoint import job_overrides, placed
from jobs.compose import load_config
from jobs.table import compose_cells

ROOT = Path(__file__).resolve().parents[3]
COMMAND = re.compile(r"python -m jobs\.(\w+)([^`\n]*)")
LEFT_OUT = re.compile(r"\.\.\.|.*=\[\.\.\.\]|--help|--config")  # other placeholders compose as they stand


def documented_commands() -> list[tuple[str, tuple[str, ...]]]:
    """(job, options) of every command in a code block or between backticks."""
    found: dict[tuple[str, tuple[str, ...]], None] = {}
    for name in ("README.md", "docs/operations.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        for job, rest in COMMAND.findall(text):
            words = shlex.split(re.split(r"\s(?:\d?>|\|)", rest)[0], comments=True)
            found[job, tuple(word for word in words if not LEFT_OUT.fullmatch(word))] = None
    return list(found)


COMMANDS = documented_commands()


@pytest.mark.parametrize(("job", "options"), COMMANDS, ids=[" ".join([job, *options]) for job, options in COMMANDS])
def test_a_documented_command_composes(job: str, options: tuple[str, ...]):
    assert (ROOT / "jobs" / f"{job}.py").is_file()
    config = load_config(options)
    if job == "table":
        compose_cells(config, options)
    if job == "submit":
        load_config(job_overrides(placed(config), options))


def test_commands_of_both_documents_were_found():
    jobs = [job for job, _ in COMMANDS]
    assert len(jobs) > 30
    assert {"prepare", "train", "submit", "plan", "table", "gateway", "rollback"} <= set(jobs)
