"""JSON that somebody else may have written: parsed strictly, and turned into dataclasses by their annotations.

Everything that is wrong with it is a ValueError that names the place, so that a reader has one thing to catch.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
SHOWN = 60  # characters of a wrong value in a message


def parse_json(text: str | bytes) -> Any:
    """The value of one JSON document.

    Raises:
        ValueError: no JSON, no UTF-8, NaN or Infinity (which JSON has no word for), a number too large for a float, or
            nested too deeply to be read
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def typed(kind: type[T], value: Any, path: str = "") -> T:
    """A parsed value as a dataclass, recursively; nothing is converted but lists to tuples and whole numbers to floats.

    Fields may be dataclasses, enums, str, int, float, bool, None, Any, and tuples, lists, dicts and unions of these.
    What is left out takes its default. Checks in ``__post_init__`` run, and raise what they raise.

    Args:
        path: name of the value in messages; "" for the outermost

    Raises:
        ValueError: a value of another type, an unknown field, or one that is missing
    """
    return _typed(kind, value, path)


def _refuse(name: str) -> float:
    raise ValueError(f"{name[:SHOWN]} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _typed(kind: Any, value: Any, path: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if isinstance(kind, types.UnionType) or origin is Union:
        return _one_of(kind, value, path)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, path)
    if origin in (tuple, list):
        return _sequence(kind, value, path)
    if origin is dict and isinstance(value, dict):
        return {key: _typed(get_args(kind)[1], inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int and abs(value) < 1 << 1023:
        return float(value)
    if kind in (str, int, float, bool, types.NoneType) and type(value) is kind:
        return value
    raise _wrong(kind, value, path)


def _one_of(kind: Any, value: Any, path: str) -> Any:
    members = get_args(kind)
    if value is None and types.NoneType in members:
        return None
    members = tuple(one for one in members if one is not types.NoneType)
    if len(members) == 1:
        return _typed(members[0], value, path)
    for member in sorted(members, key=lambda one: one is float):  # a whole number stays one where it may
        try:
            return _typed(member, value, path)
        except ValueError:
            continue
    raise _wrong(kind, value, path)


def _dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(kind, value, path)
    prefix = f"{path}." if path else ""
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = [name for name in value if name not in fields]
    if unknown:
        raise ValueError(f"{prefix}{unknown[0][:SHOWN]} is unknown")
    given = {name: _typed(hints[name], inner, f"{prefix}{name}") for name, inner in value.items()}
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in given and not optional:
            raise ValueError(f"{prefix}{name} is missing")
    return kind(**given)


def _sequence(kind: Any, value: Any, path: str) -> Any:
    members = get_args(kind)
    of_one_kind = get_origin(kind) is list or members[1:] == (Ellipsis,)
    if not isinstance(value, list | tuple) or not (of_one_kind or len(members) == len(value)):
        raise _wrong(kind, value, path)
    kinds = [members[0]] * len(value) if of_one_kind else members
    found = [_typed(one, inner, f"{path}[{place}]") for place, (one, inner) in enumerate(zip(kinds, value))]
    return found if get_origin(kind) is list else tuple(found)


def _wrong(kind: Any, value: Any, path: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    name = kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
    return ValueError(f"{path or 'the content'}={shown} is not of type {name}")
