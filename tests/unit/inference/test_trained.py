"""What a trained model does with images and codes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gem_ray
from gem_ray.errors import ConfigError, DataError, GraphError
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


def test_samples_follow_their_seed_and_take_each_node_from_a_real_image(model: TrainedModel):
    assert torch.equal(model.sample(4, seed=1), model.sample(4, seed=1))
    assert not torch.equal(model.sample(4, seed=1), model.sample(4, seed=2))
    assert model.sample(300).shape == (300, 3, 32, 32)
    assert torch.equal(model.sample(2, seed=1, prior=True), model.sample(2, seed=1, prior=True))
    assert not torch.equal(model.sample(2, seed=1, prior=True), model.sample(2, seed=1))


def test_samples_of_the_prior_need_no_data_of_the_run(own_run: Path):
    (shard,) = (own_run.parent / "data").glob("*.parquet")
    shard.unlink()
    model = gem_ray.load(own_run)
    assert model.sample(2, seed=1, prior=True).shape == (2, 3, 32, 32)
    with pytest.raises(DataError):
        model.sample(2, seed=1)


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
