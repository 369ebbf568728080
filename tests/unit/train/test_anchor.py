"""The moving average that the refined adjacency may be pulled to."""

from __future__ import annotations

import torch

from gem_ray.config import GemConfig, ModelConfig, ObjectiveConfig
from gem_ray.train.anchor import AverageAnchor, build_anchor

STRENGTH = torch.tensor([[0.0, 0.5], [-0.2, 0.0]])


def test_before_the_first_step_the_anchor_is_the_prior_whatever_it_becomes():
    anchor = AverageAnchor(2, 0.9)
    assert torch.equal(anchor(STRENGTH), STRENGTH)
    assert torch.equal(anchor(2 * STRENGTH), 2 * STRENGTH)


def test_after_t_steps_towards_one_graph_it_is_the_closed_form():
    anchor, learned = AverageAnchor(2, 0.9), STRENGTH + 0.3
    for _ in range(5):
        anchor.update(learned, STRENGTH)
    torch.testing.assert_close(anchor(torch.zeros(2, 2)), 0.9**5 * STRENGTH + (1 - 0.9**5) * learned)


def test_it_has_no_gradient_and_holds_no_graph():
    anchor, learned = AverageAnchor(2, 0.9), STRENGTH.clone().requires_grad_()
    anchor.update(learned * 2, STRENGTH)
    assert not anchor(STRENGTH).requires_grad
    assert list(anchor.parameters()) == []


def test_it_goes_on_from_its_state():
    first = AverageAnchor(2, 0.9)
    first.update(STRENGTH + 0.3, STRENGTH)
    second = AverageAnchor(2, 0.9)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(STRENGTH), first(STRENGTH))


def test_there_is_one_only_where_it_was_asked_for():
    def make(anchor: str) -> AverageAnchor | None:
        objective = ObjectiveConfig(anchor=anchor, anchor_decay=0.5)
        config = GemConfig(model=ModelConfig(attributes=["a", "b"]), objective=objective)
        return build_anchor(config, torch.device("cpu"))

    assert make("prior") is None
    found = make("ema")
    assert found is not None
    assert found.decay == 0.5
