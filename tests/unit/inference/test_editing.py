"""What edits and traversals do to codes, with propagation and without."""

from __future__ import annotations

import pytest
import torch

from gem_ray.inference.trained import TrainedModel

CHANGES = {"male": 1.5, "makeup": -0.5}


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
