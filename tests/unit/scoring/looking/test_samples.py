from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import GemConfig, ModelConfig
from gem_ray.config_json import config_to_json
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem
from gem_ray.scoring.looking.codes import newest_model
from gem_ray.scoring.looking.samples import CheckpointSamples, recombined_codes
from gem_ray.storage import Storage

NAMES, SIDE, DIM, RESIDUAL = ("bangs", "beard", "male"), 32, 2, 5


class NumberedImages:
    """Images that are all of one colour, which is their number."""

    count = 200

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(start, stop)
        return index, np.broadcast_to(index[:, None, None, None], (len(index), SIDE, SIDE, 3)).astype(np.uint8)


class CodeIsNumber(torch.nn.Module):
    """An encoder that writes an image's number into every latent, and no noise."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        number = (x[:, 0, 0, 0] * 255).round()
        mu = number[:, None].expand(-1, len(NAMES) * DIM + RESIDUAL).contiguous()
        return mu, torch.full_like(mu, -60.0)


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    config = GemConfig(model=ModelConfig(attributes=list(NAMES), node_dim=DIM, residual_dim=RESIDUAL))
    run = Storage(str(tmp_path), config.storage)
    torch.manual_seed(0)
    tensors = {f"gem.{name}": tensor for name, tensor in Gem(config.model, SIDE).state_dict().items()}
    strength = np.full((3, 3), 0.6)
    graph = DisGraph.from_strength(NAMES, strength, np.full((3, 3), 0.1))
    state = {"config": config_to_json(config), "image_size": SIDE}
    checkpoint = Checkpoint(step=40, model=tensors, optimizer={}, graph_json=graph.to_json(), state=state)
    save_checkpoint(run, checkpoint, 3)
    return run


def test_samples_are_images_of_the_newest_checkpoint_and_a_function_of_the_seed(run):
    source = CheckpointSamples(run, NumberedImages())
    first, again, other = (source.draw(6, seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.step, first.graph_version) == (40, 0)
    assert first.images.shape == (6, SIDE, SIDE, 3)
    assert first.images.dtype == np.uint8
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images != other.images).any()


def test_nodes_come_whole_from_images_of_their_own_and_residual_latents_from_one(run):
    newest = newest_model(run)
    assert newest is not None
    newest.model.encoder = CodeIsNumber()
    codes = recombined_codes(newest, NumberedImages(), 4_000, seed=0).numpy()
    blocks = [*np.split(codes[:, : len(NAMES) * DIM], len(NAMES), axis=1), codes[:, len(NAMES) * DIM :]]
    for block in blocks:
        np.testing.assert_allclose(block, block[:, :1].repeat(block.shape[1], axis=1), atol=1e-5)
    columns = np.stack([block[:, 0] for block in blocks])
    correlation = np.corrcoef(columns)
    assert np.abs(correlation[~np.eye(4, dtype=bool)]).max() < 0.06
    assert set(columns.round().ravel()) <= set(range(NumberedImages.count))
    np.testing.assert_allclose(columns.mean(axis=1), (NumberedImages.count - 1) / 2, atol=4)


def test_samples_pass_through_the_graph(run):
    newest = newest_model(run)
    assert newest is not None
    codes = recombined_codes(newest, NumberedImages(), 8, seed=0)
    drawn = CheckpointSamples(run, NumberedImages()).draw(8, seed=0)
    assert drawn is not None
    np.testing.assert_array_equal(drawn.images, newest.decode(newest.relate(codes)))
    assert (drawn.images != newest.decode(replace(newest, strength=torch.zeros(3, 3)).relate(codes))).any()


def test_there_is_nothing_to_draw_before_the_first_checkpoint(tmp_path):
    empty = Storage(str(tmp_path / "empty"), GemConfig().storage)
    assert CheckpointSamples(empty, NumberedImages()).draw(4, 0) is None
