"""The contrastive term against its sum written out, and what it is where views agree or say nothing."""

from __future__ import annotations

import math

import pytest
import torch

from gem_ray.losses.contrastive import TEMPERATURE, node_contrast, nt_xent


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    def similarity(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)) / temperature)

    total = 0.0
    for one, other in ((first, second), (second, first)):
        for i in range(len(one)):
            total -= math.log(similarity(one[i], other[i]) / sum(similarity(one[i], other[k]) for k in range(len(one))))
    return total / (2 * len(first))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_it_is_the_cross_entropy_written_out(temperature: float):
    first, second = random(5, 7), random(5, 7, seed=1)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(by_hand(first, second, temperature))


def test_a_node_is_represented_by_its_values_over_the_batch():
    first, second = random(8, 3, 2).float(), random(8, 3, 2, seed=1).float()
    rows = [torch.stack([view[:, node].flatten() for node in range(3)]).double() for view in (first, second)]
    assert float(node_contrast(first, second)) == pytest.approx(by_hand(*rows, TEMPERATURE), rel=1e-5)


def test_nodes_that_nothing_tells_apart_cost_log_k_and_orthogonal_ones_next_to_nothing():
    same = torch.ones(4, 9)
    assert float(nt_xent(same, same, 0.2)) == pytest.approx(math.log(4))
    assert float(nt_xent(torch.eye(4), torch.eye(4), 0.05)) < 1e-6


def test_it_is_symmetric_in_the_views_and_blind_to_their_scale():
    first, second = random(4, 6), random(4, 6, seed=1)
    torch.testing.assert_close(nt_xent(first, second, 0.2), nt_xent(second, first, 0.2))
    torch.testing.assert_close(nt_xent(first, second, 0.2), nt_xent(3.0 * first, 0.5 * second, 0.2))
