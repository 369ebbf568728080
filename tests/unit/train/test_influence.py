"""The influence of edges is the mean size of the loss gradient, step by step."""

import pytest
import torch

from gem_ray.config import GemConfig, ModelConfig, ObjectiveConfig, TrainConfig
from gem_ray.losses.gem import gem_loss
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.step import Inputs, build_parts, step_noise, train_step

CPU = torch.device("cpu")
SIZE, BATCH, NODES = 32, 4, 3


def make_inputs(step, strength):
    generator = torch.Generator().manual_seed(step)
    return Inputs(
        images=torch.rand(BATCH, 3, SIZE, SIZE, generator=generator),
        noise=step_noise(0, step, 1, BATCH, NODES + 2),
        prior_noise=None,
        strength=strength,
        confidence=torch.full((NODES, NODES), 0.5),
        scored_images=None,
        targets=None,
        step=step,
    )


def make_parts():
    config = GemConfig(
        model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2),
        objective=ObjectiveConfig(kl_warmup_steps=1),
        train=TrainConfig(precision="fp32"),
    )
    return config, build_parts(config, SIZE, CPU)


def test_the_mean_is_that_of_sizes_on_a_loss_made_by_hand():
    offset = torch.nn.Parameter(torch.zeros(2, 2))
    influence = EdgeInfluence(offset)
    for slope in (3.0, -1.0):  # signed gradients would give 1
        offset.grad = None
        (slope * offset[0, 1] + 0.0 * offset[1, 0]).backward()
        influence.add()
    assert influence.take() == [[0.0, 2.0], [0.0, 0.0]]


def test_it_begins_anew_after_each_checkpoint():
    offset = torch.nn.Parameter(torch.zeros(2, 2))
    influence = EdgeInfluence(offset)
    assert influence.take() == [[0.0, 0.0], [0.0, 0.0]]
    offset.grad = torch.full((2, 2), 8.0)
    influence.add()
    influence.take()
    offset.grad = torch.full((2, 2), -0.5)
    influence.add()
    influence.add()
    assert influence.take() == [[0.5, 0.5], [0.5, 0.5]]


def test_steps_of_the_model_give_what_autograd_gives_for_the_whole_loss():
    config, parts = make_parts()
    strength = torch.tensor([[0.0, 0.8, -0.3], [0.1, 0.0, 0.0], [0.0, 0.5, 0.0]])
    with torch.no_grad():
        parts.gem.edge_offset.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(3))
    influence, expected = EdgeInfluence(parts.gem.edge_offset), torch.zeros(NODES, NODES)
    for step in range(3):
        inputs = make_inputs(step, strength)
        outputs = parts.model(inputs.images, inputs.noise, inputs.strength)
        loss = gem_loss(
            outputs, inputs.images, inputs.strength, inputs.confidence, None, None, config.objective, step
        ).total
        (gradient,) = torch.autograd.grad(loss, outputs.adjacency)
        expected += gradient.abs() * (1 - torch.eye(NODES)) / 3
        train_step(parts, inputs, config.objective)
        influence.add()
    found = torch.tensor(influence.take())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (found[~torch.eye(NODES, dtype=torch.bool)] > 0).all()


def test_an_edge_that_the_loss_does_not_hang_on_has_none():
    config, parts = make_parts()
    strength = torch.tensor([[0.0, 0.8, 1.0], [0.1, 0.0, 0.0], [0.0, 0.5, 0.0]])
    with torch.no_grad():
        parts.gem.edge_offset[0, 2] = 0.5  # clamped: moving it changes nothing
    influence = EdgeInfluence(parts.gem.edge_offset)
    train_step(parts, make_inputs(0, strength), config.objective)
    influence.add()
    found = torch.tensor(influence.take())
    assert found[0, 2] == 0
    assert not found.diag().any()
    assert found[0, 1] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: only there does a step run ahead of the host")
def test_adding_does_not_wait_for_the_gpu():
    offset = torch.nn.Parameter(torch.zeros(6, 6, device="cuda"))
    offset.grad = torch.ones_like(offset)
    influence = EdgeInfluence(offset)
    with torch.cuda.device(0):
        torch.cuda.set_sync_debug_mode("error")
        try:
            influence.add()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert influence.take() == [[1.0] * 6] * 6
