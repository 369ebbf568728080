"""JSON into dataclasses: what fits arrives as its type, and everything else is a ValueError that names the place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest

from gem_ray.typed_json import parse_json, typed


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    name: str
    colour: Colour = Colour.RED


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    inner: tuple[Inner, ...]
    size: tuple[int, int]
    notes: dict[str, int | float | str | None]
    maybe: Inner | None = None
    free: Any = None


GOOD = '{"count": 2, "share": 1, "inner": [{"name": "a"}], "size": [3, 4], "notes": {"x": 1, "y": 0.5, "z": null}}'


def test_what_fits_arrives_as_its_type():
    found = typed(Outer, parse_json(GOOD))
    assert found == Outer(2, 1.0, (Inner("a"),), (3, 4), {"x": 1, "y": 0.5, "z": None})
    assert type(found.share) is float
    assert type(found.notes["x"]) is int
    assert found.inner[0].colour is Colour.RED


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"count": "2"}, "count='2'"),
        ({"count": True}, "count=True"),
        ({"count": 2.0}, "count=2.0"),
        ({"share": None}, "share=None"),
        ({"inner": "ab"}, "inner='ab'"),
        ({"inner": [{"name": 3}]}, r"inner\[0\]\.name=3"),
        ({"inner": [{"name": "a", "colour": "blue"}]}, "blue"),
        ({"inner": [{}]}, r"inner\[0\]\.name is missing"),
        ({"size": [1, 2, 3]}, r"size=\[1, 2, 3\]"),
        ({"notes": []}, r"notes=\[\]"),
        ({"notes": {"x": [1]}}, r"notes\.x=\[1\]"),
        ({"maybe": 5}, "maybe=5"),
        ({"wings": 2}, "wings is unknown"),
        ({"share": 10**400}, "share=1"),
    ],
)
def test_what_does_not_fit_is_named(change, place):
    with pytest.raises(ValueError, match=place):
        typed(Outer, {**parse_json(GOOD), **change})


def test_a_long_wrong_value_is_cut_in_the_message():
    with pytest.raises(ValueError, match=r"count='x{50,59}\.\.\.") as caught:
        typed(Outer, {**parse_json(GOOD), "count": "x" * 10_000})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", "NaN", '{"a": -Infinity}', "[" * 100_000, '{"a":' * 100_000])
def test_text_that_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)
