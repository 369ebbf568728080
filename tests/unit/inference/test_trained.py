"""What a trained model does with images and codes."""

from __future__ import annotations

import pytest
import torch

from gem_ray.errors import ConfigError, GraphError
from gem_ray.inference.trained import TrainedModel

CHANGES = {"male": 1.5, "makeup": -0.5}


def test_one_image_is_a_batch_of_one_without_its_dimension(any_model: TrainedModel, images: torch.Tensor):
    single, batch = any_model.encode(images[0]), any_model.encode(images[:1])
    assert all(torch.equal(one, many[0]) for one, many in zip(single, batch))
    assert torch.equal(any_model.decode(single.mu), any_model.decode(batch.mu)[0])
    assert torch.equal(any_model.reconstruct(images[0]), any_model.reconstruct(images[:1])[0])
    assert torch.equal(any_model.edit(images[0], CHANGES), any_model.edit(images[:1], CHANGES)[0])


def test_codes_and_pictures_are_those_of_the_networks(any_model: TrainedModel, images: torch.Tensor):
    gem, strength = any_model.gem, any_model.strength
    mu, logvar = gem.encode(images)
    codes = any_model.encode(images)
    assert torch.equal(codes.mu, mu)
    assert torch.equal(codes.logvar, logvar)
    assert torch.equal(codes.z_rel, gem.relate(mu, strength))
    assert torch.equal(any_model.reconstruct(images), torch.sigmoid(gem.decode(codes.z_rel)))
    assert torch.equal(any_model.decode(codes.mu), any_model.decode(codes.z_rel, through_graph=False))


def test_an_edit_moves_the_node_from_where_it_is_by_deviations_of_its_codes(
    any_model: TrainedModel, images: torch.Tensor
):
    gem, width = any_model.gem, any_model.gem.config.node_dim
    training = any_model.data.held_out_images  # of a run: the training images lie before them
    assert training is not None
    seen = any_model.data.training_images(10**6, any_model.image_size)
    assert len(seen) == 80 - 16
    deviation = gem.encode(seen.float() / 255)[0].std(dim=0, correction=0)
    moved = any_model.encode(images).mu.clone()
    moved[:, 0] += 1.5 * deviation[0]
    moved[:, 2 * width] -= 0.5 * deviation[2 * width]
    torch.testing.assert_close(
        any_model.edited_codes(any_model.encode(images).mu, CHANGES), gem.relate(moved, any_model.strength)
    )
    torch.testing.assert_close(
        any_model.edit(images, CHANGES), torch.sigmoid(gem.decode(gem.relate(moved, any_model.strength)))
    )


@pytest.mark.parametrize("propagate", [True, False])
def test_the_residual_stays_whatever_is_edited(any_model: TrainedModel, images: torch.Tensor, propagate: bool):
    codes, named = any_model.encode(images), any_model.gem.named_dim
    edited = any_model.edited_codes(codes.mu, CHANGES, propagate)
    assert torch.equal(edited[:, named:], codes.mu[:, named:])
    assert named < any_model.latent_dim


def test_without_propagation_related_attributes_stay_and_the_node_moves_as_far(
    any_model: TrainedModel, images: torch.Tensor
):
    codes, width = any_model.encode(images), any_model.gem.config.node_dim
    through = any_model.edited_codes(codes.mu, {"male": 1.0})
    alone = any_model.edited_codes(codes.mu, {"male": 1.0}, propagate=False)
    torch.testing.assert_close(alone[:, :width], through[:, :width])
    assert torch.equal(alone[:, width:], codes.z_rel[:, width:])
    assert (
        through[:, width : any_model.gem.named_dim] - codes.z_rel[:, width : any_model.gem.named_dim]
    ).abs().max() > 0.01


def test_effects_are_the_moves_of_all_attributes_in_deviations(model: TrainedModel, images: torch.Tensor):
    effect = model.effect(images, {"male": 2.0})
    adjacency = model.gem.refined_adjacency(model.strength)
    normalised = adjacency / (1 + adjacency.abs().sum(dim=0))
    reference = model.reference
    move = 2.0 * reference.deviation[0]
    expected = (torch.eye(3)[0] + normalised[0]) * move / reference.deviation_rel[:3]
    assert list(effect) == ["male", "beard", "makeup"]
    torch.testing.assert_close(torch.tensor(list(effect.values())), expected)
    assert effect["beard"] > 0.01
    assert effect["makeup"] < -0.01
    alone = model.effect(images, {"male": 2.0}, propagate=False)
    assert alone["male"] == pytest.approx(effect["male"], rel=1e-4)
    assert (alone["beard"], alone["makeup"]) == (0.0, 0.0)


def test_no_change_is_the_reconstruction(model: TrainedModel, images: torch.Tensor):
    for propagate in (True, False):
        assert torch.equal(model.edit(images, {}, propagate), model.reconstruct(images))
        assert torch.equal(model.edit(images, {"beard": 0.0}, propagate), model.reconstruct(images))


def test_an_unknown_attribute_is_answered_with_the_known_ones(model: TrainedModel, images: torch.Tensor):
    for act in (
        lambda: model.edit(images, {"hat": 1.0}),
        lambda: model.effect(images, {"hat": 1.0}),
        lambda: model.traverse(images[0], "hat"),
        lambda: model.graph["hat", "male"],
        lambda: model.graph.of("hat"),
    ):
        with pytest.raises(GraphError, match=r"'hat'.*male, beard, makeup"):
            act()


def test_impossible_wishes_are_refused(model: TrainedModel, images: torch.Tensor):
    with pytest.raises(ConfigError, match="nan"):
        model.edit(images, {"male": float("nan")})
    with pytest.raises(ConfigError, match="7"):
        model.decode(torch.zeros(2, 5))
    with pytest.raises(ConfigError, match="at least one"):
        model.sample(0)


def test_a_traversal_goes_over_the_range_of_real_codes_and_passes_through_the_image(
    any_model: TrainedModel, images: torch.Tensor
):
    pictures, values = any_model.traverse(images[0], "beard", positions=5)
    assert pictures.shape == (5, 3, 32, 32)
    latent = any_model.gem.config.node_dim
    codes = any_model.reference.mu[:, latent]
    inside = ((codes >= values[0]) & (codes <= values[-1])).float().mean()
    assert inside > 0.95
    deviation = any_model.reference.deviation[latent]
    own = any_model.encode(images[0]).mu[latent]
    for propagate in (True, False):
        pictures, values = any_model.traverse(images[0], "beard", positions=3, propagate=propagate)
        by_edit = any_model.edit(images[0], {"beard": float((values[2] - own) / deviation)}, propagate)
        torch.testing.assert_close(pictures[2], by_edit, atol=1e-4, rtol=0)


def test_samples_follow_their_seed_and_take_each_node_from_a_real_image(model: TrainedModel):
    assert torch.equal(model.sample(4, seed=1), model.sample(4, seed=1))
    assert not torch.equal(model.sample(4, seed=1), model.sample(4, seed=2))
    assert model.sample(300).shape == (300, 3, 32, 32)
    assert torch.equal(model.sample(2, seed=1, prior=True), model.sample(2, seed=1, prior=True))
    assert not torch.equal(model.sample(2, seed=1, prior=True), model.sample(2, seed=1))


def test_the_fingerprint_knows_the_weights_and_the_graph(model: TrainedModel, any_model: TrainedModel):
    other = TrainedModel(any_model.gem, model.disgraph, step=0, shape=any_model.shape)
    assert other.fingerprint == TrainedModel(any_model.gem, model.disgraph, step=1, shape=any_model.shape).fingerprint
    before = model.fingerprint
    state = {name: tensor.clone() for name, tensor in model.gem.state_dict().items()}
    changed = type(model.gem)(model.gem.config, model.image_size)
    state["edge_offset"][0, 2] += 1e-3
    changed.load_state_dict(state)
    assert TrainedModel(changed, model.disgraph, step=7, shape=model.shape).fingerprint != before


def test_the_graph_can_be_read(model: TrainedModel):
    graph = model.graph
    relation = graph["beard", "male"]
    assert (relation.strength, relation.sign) == (pytest.approx(0.7), "+")
    assert graph["makeup", "male"].sign == "-"
    assert graph["makeup", "beard"].sign == "0"
    assert graph["male", "beard"].refined == pytest.approx(0.6)
    assert 0.5 < relation.confidence <= 1
    assert [abs(r.strength) for r in graph] == sorted((abs(r.strength) for r in graph), reverse=True)
    assert len(list(graph)) == len(graph) == 6
    assert [r.target for r in graph.of("male")] == ["makeup", "beard"]
    text = str(graph)
    assert "beard -> male" in text
    assert "+0.70" in text
    assert "acts on male: +0.70" in str(relation)
    assert graph.to_dict()[0]["source"] == "beard"


def test_in_a_baseline_nothing_follows_and_nothing_acts(baseline: TrainedModel, images: torch.Tensor):
    effect = baseline.effect(images, {"male": 2.0})
    assert effect == pytest.approx({"male": 2.0, "beard": 0.0, "makeup": 0.0}, abs=1e-5)
    assert torch.equal(baseline.edit(images, {"male": 2.0}), baseline.edit(images, {"male": 2.0}, propagate=False))
    assert {relation.refined for relation in baseline.graph} == {0.0}
    assert baseline.graph["beard", "male"].strength == pytest.approx(0.7)
