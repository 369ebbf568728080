"""A report's bar is full at the end, knows every part, and stays out of what a program reads."""

from __future__ import annotations

import logging

import pytest

from gem_ray.evaluation.report_progress import SHARES, report_progress
from gem_ray.structured_log import configure


def write(names: tuple[str, ...] = tuple(SHARES)) -> None:
    with report_progress() as part:
        for name in names:
            with part(name):
                pass


def test_all_parts_fill_the_bar(capsys):
    write()
    assert "report: done" in capsys.readouterr().out
    assert sum(SHARES.values()) == 100


def test_where_lines_are_json_the_bar_is_none_of_them(capsys):
    configure("json")
    try:
        write()
    finally:
        configure("text")
        logging.getLogger("gem_ray").setLevel(logging.NOTSET)
    assert capsys.readouterr().out == ""


def test_a_part_without_a_share_is_a_mistake():
    with pytest.raises(KeyError):
        write(("drinking tea",))
