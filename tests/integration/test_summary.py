"""The numbers of a report, computed again from the run that they are of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import load_checkpoint
from gem_ray.data.faces import face, true_strength
from gem_ray.evaluation.evaluate import evaluate, read_rows, readings_of_scores
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem
from tests.integration.small_run import (
    HOLDOUT,
    NUM_IMAGES,
    SCORED,
    SIDE,
    STEPS,
)


def test_the_summary_holds_the_numbers_that_can_be_computed_again(finished):
    run, _, config = finished
    summary = json.loads(run.read_bytes("summary.json"))
    model = Gem(config.model, SIDE)
    checkpoint = load_checkpoint(run)
    model.load_state_dict({name[4:]: value for name, value in checkpoint.model.items()})
    images = np.stack([face(0, index, SIDE)[0] for index in range(NUM_IMAGES - HOLDOUT, NUM_IMAGES)])
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    strength = torch.tensor(DisGraph.from_json(checkpoint.graph_json).strength, dtype=torch.float32)
    with torch.no_grad():
        mu, logvar = model.encode(x)
        reconstructed = model.images(model.decode(model.relate(mu, strength)))
        kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean(dim=0)
    assert summary["quality"]["mse"] == pytest.approx(float(((x - reconstructed) ** 2).mean()), rel=1e-4)
    assert summary["quality"]["kl_per_latent"] == pytest.approx(kl.tolist(), rel=1e-3, abs=1e-6)
    assert summary["nodes"][2]["kl_nats"] == pytest.approx(float(kl[2]), rel=1e-3, abs=1e-6)
    # The graph was made as the truth plus .01.
    assert summary["graph"]["agreement"]["mean_absolute_difference"] == pytest.approx(0.01)
    assert summary["graph"]["agreement"]["sign_agreement"] == 1.0
    assert summary["graph"]["agreement"]["direction_agreement"] == 1.0
    assert summary["run"]["training_s"] == pytest.approx(STEPS * 32 / 320)
    assert summary["graph"]["known"] == pytest.approx(29 / 30)
    scoring = summary["scoring"]
    assert (scoring["asked"], scoring["missing"], scoring["images_scored"]) == (384, 1, SCORED)
    assert scoring["digit_mass"] == pytest.approx(0.9)
    assert scoring["total"] is None, "the counters of costs are not in this history"


def test_what_the_mllm_said_and_did_not_say_is_in_the_summary_by_attribute(finished):
    run, _, _ = finished
    scoring = json.loads(run.read_bytes("summary.json"))["scoring"]
    digits = np.round(np.stack([face(0, index, SIDE)[1] for index in range(SCORED)]) * 5)
    rates = {entry["name"]: entry for entry in scoring["attributes"]}
    assert rates["bald"]["zero_rate"] == pytest.approx((digits[:, 1] == 0).mean())
    assert rates["male"]["failure_rate"] == pytest.approx(1 / SCORED)
    assert scoring["failure_rate"] == pytest.approx(1 / (6 * SCORED))


def test_fidelity_and_noise_are_told_edge_by_edge(finished):
    run, _, _ = finished
    graph = json.loads(run.read_bytes("summary.json"))["graph"]
    off_diagonal = ~np.eye(6, dtype=bool)
    off_diagonal[0, 1] = False  # that edge has no evidence
    gap = np.abs(0.5 * true_strength() - (true_strength() + 0.01))[off_diagonal].mean()
    assert graph["fidelity_gap"] == graph["traversal_gap"] == pytest.approx(gap)
    assert graph["fidelity_noise"] == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.1, 0.05))
    edges = {(edge["source"], edge["target"]): edge for edge in graph["relations"]}
    assert edges["beard", "male"]["fidelity"] == pytest.approx(0.5 * true_strength()[3, 2] + 0.01)
    assert not edges["beard", "male"]["may_be_noise"]
    assert edges["bangs", "bald"]["may_be_noise"]
    assert edges["bangs", "bald"]["low"] is None
    strongest = [abs(edge["strength"]) for edge in graph["relations"][::2]]
    assert strongest == sorted(strongest, reverse=True)


def test_scored_images_are_found_by_their_record_numbers_in_any_order(finished):
    run, data, config = finished
    found = evaluate(run, data, config)
    rows = np.array([239, 0, 105, 99, 100, 0])
    expected = np.stack([face(0, int(index), SIDE)[0] for index in rows])
    np.testing.assert_array_equal(read_rows(data, found.manifest, rows), expected)

    class AttributeReader(Gem):
        """An encoder that knows a face by its pixels and answers with its attributes."""

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            known = {face(0, index, SIDE)[0].tobytes(): face(0, index, SIDE)[1] for index in range(SCORED)}
            pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
            mu = torch.zeros(len(x), self.latent_dim)
            mu[:, :6] = torch.tensor(np.stack([known[image.tobytes()] for image in pixels])).float()
            return mu, mu

    assert found.scores is not None
    order = readings_of_scores(AttributeReader(config.model, SIDE), data, found.manifest, found.scores).order
    assert (np.diag(order)[~np.isnan(np.diag(order))] > 0.95).all()
    assert np.isfinite(np.diag(order)).sum() >= 5
