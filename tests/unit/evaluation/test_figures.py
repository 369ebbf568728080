"""Figures are drawn for every size a run may have, and show what they say they show."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gem_ray.evaluation.curve_figures import latents_figure, losses_figure, rescoring_figure, smoothed
from gem_ray.evaluation.graph_figures import (
    Panel,
    heatmaps_figure,
    network_figure,
    readings_figure,
    signed,
)
from gem_ray.evaluation.history import History
from gem_ray.evaluation.image_figures import (
    change_figure,
    reconstructions_figure,
    samples_figure,
    short,
    traversal_figure,
)
from gem_ray.evaluation.plot_style import NEGATIVE, POSITIVE, SIGNED, mosaic, readable_on
from gem_ray.evaluation.truth_figures import LEAST_REACH, against_truth_figure, agreement_figure

NAMES = ("bangs", "cost in $ or 100%", "<b>bold</b>", "a name that is much too long for any figure")


def picture(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def holds_colour(png: bytes, colour: str, tolerance: int = 12) -> bool:
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.abs(picture(png) - rgb).max(axis=2) <= tolerance).any())


def make_history(num_lines: int = 60) -> History:
    rng = np.random.default_rng(0)
    lines = tuple(
        {
            "step": 10 * k, "total": 100 / (k + 1), "reconstruction": 90 / (k + 1), "kl": 1.0, "graph": 0.1, "align": 2,
            "adversarial": 0.0, "discriminator": None, "kl_nodes": rng.random(4).tolist(), "images_per_s": 500.0,
            "graph_version": k // 10, "graph_age_s": 3.0, "questions_asked": k, "questions_missing": 0,
        }
        for k in range(num_lines)
    )  # fmt: skip
    return History(lines, ({"event": "graph", "step": 100}, {"event": "resumed"}))


def test_a_mosaic_puts_every_image_at_its_row_and_column():
    images = np.arange(6.0).reshape(2, 3, 1, 1, 1).repeat(4, 2).repeat(4, 3).repeat(3, 4) / 10
    joined = mosaic(images, gap=1)
    assert joined.shape == (9, 14, 3)
    assert joined[6, 11, 0] == pytest.approx(0.5)
    assert (joined[4] == 1).all()


def test_pixels_of_a_reconstruction_are_neither_blurred_nor_moved():
    rng = np.random.default_rng(0)
    images = rng.random((4, 64, 64, 3))
    drawn = picture(reconstructions_figure(images, 1 - images, columns=4))
    expected = np.round(mosaic(np.stack([images, 1 - images]), gap=2) * 255).astype(int).repeat(2, 0).repeat(2, 1)
    top, left = 8, 130
    shown = drawn[top : top + expected.shape[0], left : left + expected.shape[1]]
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("side", [32, 64, 256])
def test_pictures_of_every_side_are_drawn(side):
    images = np.random.default_rng(0).random((5, side, side, 3))
    assert min(picture(reconstructions_figure(images, images)).shape[:2]) > 100
    assert min(picture(samples_figure(images)).shape[:2]) > 100


@pytest.mark.parametrize("nodes", [2, 4])
def test_traversals_and_changes_take_any_number_of_nodes(nodes):
    rng = np.random.default_rng(0)
    steps = rng.random((nodes, 3, 32, 32, 3))
    assert picture(traversal_figure(steps, steps, NAMES[:nodes])).size > 0
    heat = rng.random((nodes, 32, 32))
    assert picture(change_figure(heat, heat, NAMES[:nodes])).size > 0
    assert picture(change_figure(0 * heat, 0 * heat, NAMES[:nodes])).size > 0


def test_a_change_figure_of_many_nodes_goes_on_in_another_band():
    heat = np.random.default_rng(0).random((11, 16, 16))
    names = [f"attribute {k}" for k in range(11)]
    assert (
        picture(change_figure(heat, heat, names)).shape[0] > picture(change_figure(heat[:8], heat[:8], names)).shape[0]
    )


@pytest.mark.parametrize("nodes", [2, 6, 40])
def test_heatmaps_are_drawn_for_few_and_many_attributes(nodes):
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, (nodes, nodes))
    values[0, 1] = np.nan
    names = [f"attribute {k}" for k in range(nodes)]
    panels = [Panel(title="DisGraph", values=values, confidence=rng.random((nodes, nodes)))]
    panels += [Panel(title="Truth", values=values)] * 3
    for number in (1, 4) if nodes == 40 else (1, 2, 3, 4):
        assert picture(heatmaps_figure(panels[:number], names)).size > 0


def test_a_heatmap_tells_the_two_directions_and_the_signs_apart():
    values = np.array([[0.0, 0.9], [-0.9, 0.0]])
    drawn = heatmaps_figure([Panel(title="DisGraph", values=values)], ["a", "b"])
    transposed = heatmaps_figure([Panel(title="DisGraph", values=values.T)], ["a", "b"])
    assert drawn != transposed
    plus, minus = (np.array(SIGNED((v + 1) / 2)[:3]) * 255 for v in (0.9, -0.9))
    # The row acts: the positive relation a -> b stands in the upper right cell.
    where_plus = np.argwhere(np.abs(picture(drawn) - plus).max(axis=2) <= 4).mean(axis=0)
    where_minus = np.argwhere(np.abs(picture(drawn) - minus).max(axis=2) <= 4)[:-1].mean(axis=0)
    assert where_plus[0] < where_minus[0]


def test_a_cell_without_confidence_shows_its_number_and_no_colour():
    values = np.array([[0.0, 0.9], [-0.9, 0.0]])
    colour = "#" + "".join(f"{round(255 * channel):02x}" for channel in SIGNED(0.05)[:3])
    sure = heatmaps_figure([Panel(title="x", values=values, confidence=np.ones((2, 2)))], ["a", "b"])
    unsure = heatmaps_figure([Panel(title="x", values=values, confidence=np.zeros((2, 2)))], ["a", "b"])
    cells = [(np.abs(picture(drawn) - picture(sure)).max(axis=2) == 0).mean() for drawn in (sure, unsure)]
    assert holds_colour(sure, colour)
    assert cells[1] < cells[0]


def test_the_network_is_coloured_by_sign_and_leaves_weak_relations_out():
    strength = np.zeros((3, 3))
    strength[0, 1], strength[1, 2] = 0.7, -0.7
    sure, names = np.ones((3, 3)), ["a", "b", "c"]
    drawn = network_figure(strength, sure, names)
    weak = network_figure(np.where(strength > 0, 0.04, strength), sure, names)
    assert drawn != network_figure(strength.T, sure, names)
    assert drawn != network_figure(strength, 0.2 * sure, names)

    def amount(png: bytes, colour: str) -> int:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        return int((np.abs(picture(png) - rgb).max(axis=2) <= 30).sum())

    assert amount(weak, POSITIVE) < amount(drawn, POSITIVE) / 1.5
    assert amount(weak, NEGATIVE) == pytest.approx(amount(drawn, NEGATIVE), rel=0.01)


def test_agreement_and_readings_are_drawn_where_some_are_not_known():
    rng = np.random.default_rng(0)
    truth, strength = rng.uniform(-1, 1, (2, 4, 4))
    truth[0] = np.nan
    error = np.full((4, 4), 0.1)
    error[1, 2] = np.inf
    assert picture(agreement_figure(strength, error, truth, NAMES)).size > 0
    assert picture(readings_figure([("with the truth", truth), ("with scores", strength)], NAMES)).size > 0


def test_curves_are_drawn_from_whole_short_and_empty_histories():
    for history in (make_history(), make_history(1), History((), ())):
        assert picture(losses_figure(history, NAMES)).size > 0
        assert picture(rescoring_figure(history)).size > 0


def test_latents_are_drawn_with_and_without_residual_ones():
    rng = np.random.default_rng(0)
    assert picture(latents_figure(rng.random(4), rng.random(4), NAMES, node_dim=1)).size > 0
    assert picture(latents_figure(rng.random(30), rng.random(30), NAMES, node_dim=2)).size > 0


def test_smoothing_keeps_a_level_and_leaves_nan_out():
    values = np.full(50, 3.0)
    values[10] = np.nan
    np.testing.assert_allclose(smoothed(values, 7), 3.0)
    np.testing.assert_allclose(smoothed(np.arange(9.0), 3)[1:-1], np.arange(1.0, 8.0))
    assert np.isnan(smoothed(np.full(5, np.nan), 3)).all()


@pytest.mark.parametrize(
    ("value", "text"), [(0.394, "+.39"), (-0.07, "−.07"), (1.0, "+1.00"), (0.001, "0"), (np.nan, "–")]
)
def test_strengths_are_written_with_a_sign(value, text):
    assert signed(value) == text


def test_names_are_cut_where_they_do_not_fit():
    assert short("bangs") == "bangs"
    assert short(NAMES[3], 10) == "a name th…"


def test_numbers_stay_readable_on_both_ends_of_the_scale_and_in_the_middle():
    assert readable_on(SIGNED(0.0)) == readable_on(SIGNED(1.0)) == "white"
    assert readable_on(SIGNED(0.5)) != "white"


@pytest.mark.parametrize("nodes", [2, 6, 20])
def test_the_graph_stands_beside_the_truth_and_their_difference(nodes):
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1, 1, (nodes, nodes))
    truth[0, 1] = np.nan
    names = [f"attribute {k}" for k in range(nodes)]
    assert picture(against_truth_figure(Panel(title="DisGraph", values=truth), truth, names)).size > 0


def test_a_graph_that_is_right_shows_no_colour_in_the_difference_and_one_that_is_off_does():
    truth = np.array([[0.0, 0.8], [0.7, 0.0]])
    right = against_truth_figure(Panel(title="DisGraph", values=truth), truth, ["a", "b"])
    off = against_truth_figure(Panel(title="DisGraph", values=truth + LEAST_REACH), truth, ["a", "b"])
    third = picture(off).shape[1] * 3 // 4  # beyond it lies only the third table, and its bar in both
    darkest = "#" + "".join(f"{round(255 * part):02x}" for part in SIGNED(1.0)[:3])

    def amount(png: bytes) -> int:
        rgb = [int(darkest[i : i + 2], 16) for i in (1, 3, 5)]
        return int((np.abs(picture(png)[:, third:] - rgb).max(axis=2) <= 12).sum())

    assert amount(off) > 20 * max(1, amount(right))
