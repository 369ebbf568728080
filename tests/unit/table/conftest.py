"""Records of made-up runs, for what is said and drawn of them."""

from __future__ import annotations

import pytest

from gem_ray.table.markdown import Contents
from gem_ray.table.record import Record

KEYS = ("before.mig", "before.dci_disentanglement", "reconstruction.mse", "health.active_units")
VALUES = {  # of seeds 0, 1 and 2
    "vae": ((0.1, 0.2, 0.3), (0.30, 0.31, 0.32), (0.010, 0.011, 0.012), (5, 6, 7)),
    "beta_vae": ((0.2, 0.3, 0.4), (0.50, 0.51, 0.52), (0.020, 0.021, 0.022), (4, 4, 4)),
    "gem": ((0.3, 0.4, 0.5), (0.51, 0.53, 0.52), (0.0105, 0.0115, 0.0125), (9, 9, 9)),
}


def record(method: str, seed: int, numbers: dict[str, float]) -> Record:
    return Record(
        method=method,
        experiment="faces",
        seed=seed,
        numbers=numbers,
        seconds=60.0 + seed,
        images_per_s=1_000.0,
        hardware="1 core of a test",
        options="abcd1234",
        run=f"faces-{method}-s{seed}-abcd1234",
        network="a network",
    )


@pytest.fixture
def contents() -> Contents:
    """Three methods, three seeds, four metrics, and a cell that failed."""
    records = [
        record(method, seed, {key: float(values[seed]) for key, values in zip(KEYS, columns)})
        for method, columns in VALUES.items()
        for seed in range(3)
    ]
    return Contents(
        records=tuple(records),
        methods=tuple(VALUES),
        experiments=("faces",),
        reference="gem",
        budgets={"faces": "20,000 images."},
        missing=(("faces dip_vae seed 1", "TrainingError: a loss that is not finite | at step 7\nand more"),),
        command="python -m jobs.table",
    )
