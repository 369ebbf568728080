from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import GemConfig, ModelConfig
from gem_ray.config_json import config_to_json
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.looking.traversals import CheckpointTraversals, positions_of, shown_relations
from gem_ray.storage import Storage

NAMES, SIDE = ("bangs", "beard"), 32


class GreyImages:
    """Images whose brightness is their number, read as a data set is."""

    def __init__(self, count: int) -> None:
        self.count = count

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(start, stop)
        return index, np.broadcast_to(index[:, None, None, None] % 256, (len(index), SIDE, SIDE, 3)).astype(np.uint8)


def write_checkpoint(folder: Path, step: int = 7) -> Storage:
    """A checkpoint of an untrained model whose graph says: bangs act on beard with 0.8."""
    config = GemConfig(model=ModelConfig(attributes=list(NAMES), residual_dim=3))
    run = Storage(str(folder), config.storage)
    torch.manual_seed(0)
    model = Gem(config.model, SIDE)
    graph = DisGraph.from_strength(NAMES, np.array([[0.0, 0.8], [0.0, 0.0]]), np.full((2, 2), 0.1))
    tensors = {f"gem.{name}": tensor for name, tensor in model.state_dict().items()}
    state = {"config": config_to_json(config), "image_size": SIDE}
    save_checkpoint(run, Checkpoint(step=step, model=tensors, optimizer={}, graph_json=graph.to_json(), state=state), 3)
    return run


def make_probabilities(values: np.ndarray) -> np.ndarray:
    """Sure digits [B, T, n] as distributions [B, T, n, 6]."""
    return np.eye(NUM_DIGITS)[values]


def test_a_digit_that_rises_with_the_position_is_shown_as_one_and_one_that_stays_as_zero():
    values = np.zeros((8, 5, 3), dtype=int)
    values[:, :, 0], values[:, :, 1] = np.arange(5), 4 - np.arange(5)
    strength, error = shown_relations(make_probabilities(values))
    np.testing.assert_allclose(strength, [1.0, -1.0, 0.0])
    assert (error > 0).all(), "eight start images do not prove that a ninth would show the same"


def test_positions_are_compared_over_all_start_images():
    # Half of them follow the position, half stay at 0. Of the pairs of positions a < b, the later one is above with
    # .5 (it follows), and below with .25 where a > 0 (it stays and a follows): .5 for 4 of 10 pairs, .25 for 6.
    values = np.zeros((200, 5, 1), dtype=int)
    values[:100, :, 0] = np.arange(5)
    strength, error = shown_relations(make_probabilities(values))
    assert strength[0] == pytest.approx(0.35)
    assert 0.01 < error[0] < 0.06


def test_positions_count_by_their_share_of_the_data():
    # The last position alone differs. Of pairs of different positions it takes part in 2 of 5 with even shares.
    values = np.zeros((8, 5, 1), dtype=int)
    values[:, 4, 0] = 5
    even, _ = shown_relations(make_probabilities(values))
    rare, _ = shown_relations(make_probabilities(values), np.array([0.5, 0.0, 0.0, 0.48, 0.02]))
    assert even[0] == pytest.approx(2 * 0.2 * 0.8 / (1 - 5 * 0.2**2))
    assert rare[0] == pytest.approx(2 * 0.02 * 0.98 / (1 - 0.5**2 - 0.48**2 - 0.02**2))


def test_a_node_that_does_not_move_its_own_attribute_says_nothing_of_its_relations():
    values = np.zeros((8, 5, 3), dtype=int)
    values[:, :, 1] = np.arange(5)
    strength, error = shown_relations(make_probabilities(values), own=0)
    np.testing.assert_array_equal(strength, 0.0)
    assert np.isinf(error).all()
    strength, error = shown_relations(make_probabilities(values), own=1)
    np.testing.assert_allclose(strength, [0.0, 1.0, 0.0])
    assert np.isfinite(error).all()


def test_an_image_with_a_missing_answer_is_left_out_of_that_attribute_alone():
    values = np.zeros((4, 5, 2), dtype=int)
    values[:, :, 0] = np.arange(5)
    probabilities = make_probabilities(values).astype(float)
    probabilities[:3, 2, 0] = np.nan
    strength, error = shown_relations(probabilities)
    assert strength[0] == 0.0
    assert np.isinf(error[0]), "one image is no ground for an error"
    assert np.isfinite(error[1])


@pytest.mark.parametrize("num_images", [8, 16, 48])
def test_two_standard_errors_cover_what_other_start_images_show(num_images: int):
    """One start in six (a bearded face) shows the effect in full, others a faint one: coverage over 400 repeats."""
    rng = np.random.default_rng(0)
    bent = np.arange(5) / 4
    truth = None
    covered = []
    for repeat in range(401):
        count = 20_000 if repeat == 0 else num_images
        effect = np.where(rng.random((count, 1)) < 1 / 6, 0.9, 0.05) * bent
        moved = 0.05 + effect + 0.04 * rng.standard_normal((count, 5))
        chance = np.clip(moved, 0, 1)[..., None, None]
        probabilities = chance * np.eye(NUM_DIGITS)[4] + (1 - chance) * np.eye(NUM_DIGITS)[0]
        strength, error = shown_relations(probabilities)
        if repeat == 0:
            truth = strength[0]
        else:
            covered.append(abs(strength[0] - truth) <= 1.96 * error[0])
    assert 0.9 <= np.mean(covered) <= 1.0


def test_positions_reach_the_codes_of_a_rare_attribute_and_their_shares_are_those_of_the_data():
    codes = np.concatenate([np.random.default_rng(0).normal(-0.15, 0.05, 490), np.linspace(6, 8, 10)])
    positions, shares = positions_of(codes, 5)
    assert positions[0] == pytest.approx(-0.27, abs=0.05)
    assert positions[-1] == pytest.approx(7.55, abs=0.1)
    np.testing.assert_allclose(np.diff(positions), positions[1] - positions[0])
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(0.98)
    assert shares[-1] == pytest.approx(0.01, abs=0.006)


def test_moving_one_node_through_the_graph_changes_the_picture_over_the_range_of_its_codes(tmp_path):
    source = CheckpointTraversals(write_checkpoint(tmp_path), 5, GreyImages(300))
    starts = GreyImages(300).read(10, 13)[1]
    drawn = source.draw(starts)
    assert drawn is not None
    assert (drawn.step, source.newest_step()) == (7, 7)
    assert drawn.positions.shape == drawn.weights.shape == (2, 5)
    np.testing.assert_allclose(drawn.weights.sum(axis=1), 1.0)
    assert (np.diff(drawn.positions, axis=1) > 0).all()
    pictures = list(drawn.nodes)
    assert [node.shape for node in pictures] == [(3, 5, SIDE, SIDE, 3)] * 2
    assert all(node.dtype == np.uint8 for node in pictures)


def test_some_nodes_can_be_drawn_alone_and_are_the_same_as_among_all(tmp_path):
    source = CheckpointTraversals(write_checkpoint(tmp_path), 5, GreyImages(300))
    starts = GreyImages(300).read(10, 12)[1]
    every, one, none = source.draw(starts), source.draw(starts, nodes=[1]), source.draw(starts, nodes=[])
    assert every is not None
    assert one is not None
    assert none is not None
    np.testing.assert_array_equal(one.positions[0], every.positions[1])
    np.testing.assert_array_equal(next(one.nodes), list(every.nodes)[1])
    assert list(none.nodes) == []
    assert none.positions.shape == (0, 5)


def test_there_is_nothing_to_draw_before_the_first_checkpoint_or_without_images(tmp_path):
    starts = GreyImages(300).read(0, 2)[1]
    empty = Storage(str(tmp_path / "empty"), GemConfig().storage)
    assert CheckpointTraversals(empty, 5, GreyImages(300)).draw(starts) is None
    with pytest.raises(DataError, match="no image that training may see"):
        CheckpointTraversals(write_checkpoint(tmp_path / "run"), 5, GreyImages(0)).draw(starts)
