"""The paper's experiments hold what the paper states (method.md sections 1.7 and 2), and say what was inferred."""

from __future__ import annotations

import re

import pytest

from gem_ray.config import PAPER_ATTRIBUTES
from jobs.compose import CONFIGS, load_config

PAPER = ["paper_celeba", "paper_lsun"]


@pytest.mark.parametrize("experiment", PAPER)
def test_an_experiment_of_the_paper_holds_its_stated_settings(experiment: str):
    config = load_config([f"experiment={experiment}"])
    objective, scoring = config.objective, config.scoring
    assert (config.prepare.image_size, config.data.batch_size, config.train.learning_rate) == (64, 32, 1e-4)
    assert (config.model.num_nodes, config.model.node_dim, config.model.residual_dim) == (6, 1, 0)
    assert (objective.adversarial_weight, objective.discriminator_weight) == (0.6, 0.8)  # l_gem, l_adv
    assert objective.beta / 0.6 > 1  # l_dis = .6 times beta > 1
    # No pixel term and no alignment in the paper: every report of such a run must be able to say so.
    assert (objective.reconstruction_weight, objective.align_weight, objective.perceptual_weight) == (0, 0, 0)
    assert (scoring.initial_images, scoring.estimator) == (1_500, "most_likely")
    assert (scoring.round_images, scoring.sample_images, scoring.traversal_images, scoring.judgements) == (
        0,
        0,
        0,
        False,
    )


def test_the_six_attributes_are_those_of_the_paper_and_faces_come_with_their_splits():
    config = load_config(["experiment=paper_celeba"])
    assert tuple(config.model.attributes) == PAPER_ATTRIBUTES
    assert (config.prepare.source, config.prepare.split, config.prepare.num_images) == ("celeba", "all", 0)


@pytest.mark.parametrize("experiment", PAPER)
def test_every_setting_says_whether_it_is_stated_or_inferred(experiment: str):
    lines = (CONFIGS / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if re.match(r"  \S+: \S", line) and not re.match(r"  (name|uri):", line)]
    assert len(settings) > 20
    assert [line for line in settings if not re.search(r"# .*\b[SI]\b", line)] == []


def test_another_protocol_and_another_model_can_be_had_with_it():
    config = load_config(["experiment=paper_celeba", "mllm=nano", "scoring=default"])
    assert (config.scoring.model, config.scoring.initial_images) == ("nano", load_config([]).scoring.initial_images)
