"""Reference values of the original metric code on fixed arrays, and a small full grid of factors.

The references lie beside the repository, or in GEM_RAY_METRIC_REFS; tests of them skip where they are absent.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

CASES = (
    "perfect",
    "random",
    "nonlinear",
    "duplicated",
    "const_dims",
    "mix10",
    "mix30",
    "mix60",
    "mix100",
)
GRID_SIZES = (2, 4, 5)


@dataclass(frozen=True)
class Case:
    """One set of codes, the factors, and what the original code says of them."""

    name: str
    codes: NDArray[np.float64]  # [10000, 10]
    factors: NDArray[np.int64]  # [10000, 5]
    test_codes: NDArray[np.float64]  # [5000, 10]
    test_factors: NDArray[np.int64]
    table: NDArray[np.float64]  # [5760, 10] of every state
    table_factors: NDArray[np.int64]
    arrays: dict[str, NDArray]
    values: dict


@pytest.fixture(scope="session")
def metric_refs() -> Path:
    """The folder of the references."""
    beside = Path(__file__).parents[5] / "shared" / "metric_refs"
    root = Path(os.environ.get("GEM_RAY_METRIC_REFS", beside))
    if not (root / "common.npz").exists():
        pytest.skip(f"{root} holds no references; set GEM_RAY_METRIC_REFS to the folder that does")
    return root


@pytest.fixture(scope="session", params=CASES)
def case(request: pytest.FixtureRequest, metric_refs: Path) -> Case:
    """Each of the reference cases in turn; a test may name some by indirect parameters."""
    common = dict(np.load(metric_refs / "common.npz"))
    arrays = dict(np.load(metric_refs / f"case_{request.param}.npz"))
    return Case(
        name=request.param,
        codes=arrays["mus_train"].T,
        factors=common["y_train"].T.astype(np.int64),
        test_codes=arrays["mus_test"].T,
        test_factors=common["y_test"].T.astype(np.int64),
        table=arrays["codes_table"],
        table_factors=common["factors_table"].astype(np.int64),
        arrays=arrays,
        values=json.loads((metric_refs / f"case_{request.param}.json").read_text()),
    )


@pytest.fixture
def grid() -> NDArray[np.int64]:
    """Factors [400, 3] of 2, 4 and 5 values: every combination ten times, so exactly independent."""
    return np.tile(np.indices(GRID_SIZES).reshape(3, -1).T, (10, 1))


@pytest.fixture
def noise(grid: NDArray[np.int64]) -> NDArray[np.float64]:
    """Codes [400, 3] that know nothing of the grid."""
    return np.random.default_rng(3).normal(size=grid.shape)
