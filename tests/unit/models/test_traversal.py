"""Traversals move one node; whether others follow depends on the graph."""

from __future__ import annotations

import torch

from gem_ray.config import ModelConfig
from gem_ray.models.gem import Gem
from gem_ray.models.traversal import traverse

VALUES = torch.tensor([-2.0, 0.0, 1.5])


def make_gem() -> Gem:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Gem(ModelConfig(attributes=["a", "b", "c"], node_dim=2, residual_dim=1), 32)


def make_strength() -> torch.Tensor:
    strength = torch.zeros(3, 3)
    strength[1, 2] = 1.0
    return strength


def by_hand(model: Gem, z: torch.Tensor, through_graph: bool) -> torch.Tensor:
    """Node 1 starts at entry 2 of the code; one image at a time."""
    rows = []
    for code in z:
        images = []
        for value in VALUES:
            moved = code[None].clone()
            if through_graph:
                moved[0, 2] = value
            related = model.relate(moved, make_strength())
            if not through_graph:
                related[0, 2] = value
            images.append(torch.sigmoid(model.decode(related))[0])
        rows.append(torch.stack(images))
    return torch.stack(rows).detach()


def test_each_code_is_decoded_at_each_value_with_and_without_the_graph():
    model, z = make_gem(), torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    before = z.clone()
    for through_graph in (True, False):
        images = traverse(model, make_strength(), z, 1, VALUES, through_graph)
        assert images.shape == (2, 3, 3, 32, 32)
        torch.testing.assert_close(images, by_hand(model, z, through_graph), rtol=1e-4, atol=1e-5)
        assert not images.requires_grad
    assert torch.equal(z, before)


def test_only_through_the_graph_does_the_target_follow():
    model, z, seen = make_gem(), torch.zeros(1, 7), []
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    traverse(model, make_strength(), z, 1, VALUES, through_graph=True)
    traverse(model, make_strength(), z, 1, VALUES, through_graph=False)
    through, alone = seen
    assert through[:, 2].tolist() == alone[:, 2].tolist() == VALUES.tolist()
    torch.testing.assert_close(through[:, 4], VALUES / 2)  # strength 1, normalised by 1 + 1
    assert alone[:, 4].tolist() == [0.0, 0.0, 0.0]
