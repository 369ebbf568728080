"""JSON without NaN: null at any depth, and everything else as it was."""

import json
import math

from gem_ray.strict_json import strict_json


def test_what_is_not_finite_is_null_at_any_depth_and_the_rest_stays():
    content = {"a": math.nan, "b": [1.5, math.inf, {"c": (-math.inf, "NaN", True, None, 3)}]}
    text = strict_json(content)
    assert json.loads(text) == {"a": None, "b": [1.5, None, {"c": [None, "NaN", True, None, 3]}]}
    assert "NaN" not in text.replace('"NaN"', "")
    assert strict_json({"a": 1}, indent=2) == '{\n  "a": 1\n}'
