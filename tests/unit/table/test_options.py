"""Tables that cannot be made are refused by the names of their options."""

from __future__ import annotations

import pytest

from gem_ray.config import TableConfig
from gem_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"methods": []}, "table.methods is empty"),
        ({"seeds": []}, "table.seeds is empty"),
        ({"seeds": [1, 1]}, "table.seeds=.1, 1. names something twice"),
        ({"experiments": ["faces", "faces"]}, "table.experiments=.*twice"),
        ({"reference": "nowhere"}, "table.reference='nowhere' is none of table.methods"),
        ({"parallel": -1}, "table.parallel=-1"),
    ],
)
def test_an_impossible_table_is_refused(options: dict[str, object], named: str):
    with pytest.raises(ConfigError, match=named):
        TableConfig(**options)


def test_a_table_needs_no_reference():
    assert TableConfig(methods=["vae"], reference="").reference == ""
