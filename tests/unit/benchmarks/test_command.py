"""The command line: it answers at once, measures what is asked for, and its status tells what went wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import __main__, serving
from benchmarks.command import Group, main_of
from benchmarks.timing import Ratio, Turns, figures

HERE = "importlib_cannot_name_this_module"


def good(repeats: int) -> Iterator[Ratio]:
    yield from figures(
        "good", "twice as fast", Turns([1.0] * repeats, [2.0] * repeats, [1.3] * repeats, 0.3), 1, "x/s", 1
    )


def slow(repeats: int) -> Iterator[Ratio]:
    yield from figures(
        "slow", "half as fast", Turns([2.0] * repeats, [1.0] * repeats, [2.6] * repeats, 0.3), 1, "x/s", 1
    )


def deaf(repeats: int) -> Iterator[Ratio]:
    yield from figures("deaf", "no control", Turns([1.0] * repeats, [2.0] * repeats, [1.0] * repeats, 0.3), 1, "x/s", 1)


def broken(repeats: int) -> Iterator[Ratio]:
    yield from good(repeats)
    raise OSError("the disk is full")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> dict[str, Group]:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])
    return {name: Group(f"{HERE}:{name}", 1, name) for name in ("good", "slow", "deaf", "broken")}


def run(groups: dict[str, Group], *arguments: str) -> str:
    """What it complains of."""
    try:
        main_of("", groups, arguments)
    except SystemExit as ended:
        return str(ended.code)
    return ""


def test_a_met_target_and_a_moved_control_are_a_success(
    groups: dict[str, Group], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(groups, "--only", "good", "--repeats", "7", "--output", str(tmp_path)) == ""
    machine, line, control = map(json.loads, capsys.readouterr().out.splitlines())
    assert machine["cores"] >= 1
    assert (line["median"], line["repeats"], line["met"]) == (2.0, 7, True)
    assert line["load"] >= 0
    assert control["median"] < control["expect"]
    assert "| good | twice as fast | 2 (2-2)" in (tmp_path / "ratios.md").read_text()
    assert len((tmp_path / "ratios.jsonl").read_text().splitlines()) == 3


def test_what_goes_wrong_is_named_and_the_other_groups_still_run(
    groups: dict[str, Group], capsys: pytest.CaptureFixture[str]
) -> None:
    said = run(groups)
    assert said.splitlines() == ["failed: broken", "its control has not moved: deaf_control", "missed: slow"]
    shown = capsys.readouterr()
    assert "the disk is full" in shown.err
    assert "half as fast" in shown.out


def test_checking_complains_of_regressions_and_not_of_targets(
    groups: dict[str, Group], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import baselines, command

    path = tmp_path / "baselines.json"
    monkeypatch.setattr(
        command, "write_baselines", lambda ratios, machine: baselines.write_baselines(ratios, machine, path)
    )
    monkeypatch.setattr(command, "read_baselines", lambda: baselines.read_baselines(path))
    assert run(groups, "--only", "slow", "--write-baselines") == "missed: slow"
    assert run(groups, "--only", "slow", "--check") == ""
    groups["slow"] = Group(f"{HERE}:slower", 1, "")
    assert run(groups, "--only", "slow", "--check") == "regressed: slow"


def slower(repeats: int) -> Iterator[Ratio]:
    yield from figures("slow", "", Turns([2.6] * repeats, [1.0] * repeats, [3.4] * repeats, 0.3), 1, "x/s", 1)


def test_fewer_than_five_pairs_are_refused(groups: dict[str, Group], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(groups, "--repeats", "4") == "2"
    assert "at least 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    "module", ["benchmarks", "benchmarks.serving", "benchmarks.growth", "benchmarks.gpu", "benchmarks.peers"]
)
def test_help_answers_without_loading_torch_or_ray(module: str) -> None:
    code = "\n".join(
        [
            "import runpy, sys",
            "sys.argv[1:] = ['--help']",
            f"try: runpy.run_module({module!r}, run_name='__main__')",
            "finally: print([name for name in ('torch', 'ray', 'vllm') if name in sys.modules])",
        ]
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "usage:" in shown
    assert shown.rstrip().endswith("[]")


@pytest.mark.parametrize("group", [*__main__.GROUPS.values(), *serving.GROUPS.values()], ids=lambda group: group.place)
def test_every_group_names_a_function_that_is_there(group: Group) -> None:
    module, _, function = group.place.partition(":")
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    assert f"def {function}(repeats: int) -> Iterator[Ratio]:" in Path(found.origin).read_text()
