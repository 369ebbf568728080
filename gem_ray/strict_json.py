"""JSON that every reader takes: what is not a finite number is null."""

from __future__ import annotations

import json
import math
from typing import Any


def strict_json(content: Any, indent: int | None = None) -> str:
    """Nested dicts, lists and tuples as JSON text; NaN and infinities, which JSON has no word for, become null."""
    return json.dumps(finite(content), indent=indent, allow_nan=False)


def finite(value: Any) -> Any:
    """The same nested value with None in place of every float that is not finite."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
