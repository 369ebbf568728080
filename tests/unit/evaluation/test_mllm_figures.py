"""The table and the figure of a check."""

from __future__ import annotations

import io
import math
from dataclasses import replace

from PIL import Image
from rich.console import Console

from gem_ray.evaluation.mllm_figures import check_figure, check_tables
from gem_ray.scoring.checking.agreement import Bin, Interval
from gem_ray.scoring.checking.checks import AttributeCheck, Check

MALE = AttributeCheck(
    name="male",
    num_images=100,
    num_present=30,
    rank_correlation=Interval(0.9, 0.8, 0.95),
    auroc=Interval(0.912, 0.85, 0.95),
    accuracy_mid=0.8,
    accuracy_best=0.9,
    best_threshold=1.5,
    calibration_error=0.3,
    mean_error=0.4,
    zero_rate=0.6,
    failure_rate=0.05,
    digit_mass=0.99,
    reliability=(Bin(0.5, 0.4, 60), Bin(4.5, 4.0, 40)),
)
NOTHING = replace(
    MALE,
    name="beard",
    num_images=0,
    num_present=0,
    rank_correlation=Interval(math.nan, math.nan, math.nan),
    auroc=Interval(math.nan, math.nan, math.nan),
    accuracy_best=math.nan,
    zero_rate=math.nan,
    reliability=(),
)


def make_check(*attributes: AttributeCheck) -> Check:
    return Check(
        model="org/m",
        fingerprint="m-1",
        source="photos",
        protocol="score-1/1",
        image_size=64,
        num_questions=200,
        questions_per_s=50.0,
        attributes=attributes,
    )


def shown(check: Check) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(*check_tables(check))
    return console.file.getvalue()


def test_the_tables_fit_a_terminal_and_mark_what_is_at_chance():
    text = shown(make_check(MALE, NOTHING))
    assert "200 questions at 50 a second" in text
    assert ".900 [.80, .95]" in text
    assert ".912 [.85, .95]" in text
    assert "beard *" in text
    assert "male *" not in text
    assert "30 of 100" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_figure_is_drawn_for_one_attribute_for_unknown_figures_and_for_many():
    many = [replace(MALE, name=f"attribute {number}") for number in range(40)]
    sizes = []
    for check in (make_check(MALE), make_check(MALE, NOTHING), make_check(*many)):
        image = Image.open(io.BytesIO(check_figure(check)))
        image.load()
        sizes.append(image.size)
    assert sizes[2][1] > 2 * sizes[0][1]  # rows keep their height
