"""The figures hold every method and metric, and can be drawn of little."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from gem_ray.table.charts import differences_chart, methods_chart
from gem_ray.table.markdown import Contents


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_chart_grows_with_methods_and_changes_with_the_numbers(contents: Contents):
    drawn = pixels(methods_chart(contents, "faces"))
    fewer = pixels(methods_chart(replace(contents, methods=("vae", "gem")), "faces"))
    assert fewer.shape[0] < drawn.shape[0]
    changed = tuple(
        replace(one, numbers=one.numbers | {"before.mig": 0.9}) if one.method == "vae" else one
        for one in contents.records
    )
    assert (pixels(methods_chart(replace(contents, records=changed), "faces")) != drawn).any()


def test_clear_differences_are_coloured_by_what_is_better_not_by_their_sign(contents: Contents):
    blue, orange = (31, 108, 176), (207, 84, 16)

    def colours(method: str, key: str, by: float) -> tuple[bool, bool]:
        gem = {one.seed: one.numbers[key] for one in contents.records if one.method == "gem"}
        records = [
            replace(one, numbers={key: gem[one.seed] + (by if one.method == method else 0.0)})
            for one in contents.records
            if one.method in (method, "gem")
        ]
        drawn = pixels(differences_chart(replace(contents, records=tuple(records), methods=(method, "gem")), "faces"))
        panel = drawn[: -int(0.4 * 192)]  # without the legend
        return tuple(bool((np.abs(panel - np.array(rgb)).sum(axis=2) < 12).any()) for rgb in (blue, orange))

    assert colours("vae", "before.mig", 0.2) == (True, False)
    assert colours("vae", "before.mig", -0.2) == (False, True)
    assert colours("vae", "reconstruction.mse", 0.2) == (False, True), "more error is worse"
    assert colours("vae", "reconstruction.mse", -0.2) == (True, False)


def test_one_seed_and_missing_numbers_can_be_drawn(contents: Contents):
    single = tuple(one for one in contents.records if one.seed == 0)
    gaps = tuple(replace(one, numbers={"before.mig": 0.1} if one.method == "gem" else {}) for one in single)
    for records in (single, gaps):
        assert pixels(methods_chart(replace(contents, records=records), "faces")).std() > 0
        assert pixels(differences_chart(replace(contents, records=records), "faces")).std() > 0
