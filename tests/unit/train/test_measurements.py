"""What is logged is the mean over the window, and a loss that is not finite stops the run by name."""

import pytest
import torch

from gem_ray.config import GemConfig, ModelConfig, ObjectiveConfig
from gem_ray.errors import TrainingError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.losses.gem import LossTerms
from gem_ray.messages import Cost, RescorerStatus
from gem_ray.models.gem import GemOutputs
from gem_ray.train.measurements import Measurements, progress_line, scoring_fields
from gem_ray.train.relation_feed import RelationFeed, without_scores

CPU = torch.device("cpu")


def make_terms(**values):
    terms = dict.fromkeys(LossTerms._fields, 1.0) | values
    return LossTerms(**{name: torch.tensor(value) for name, value in terms.items()})


def make_outputs():
    mu, logvar = torch.full((2, 5), 2.0), torch.zeros(2, 5)
    return GemOutputs(torch.zeros(1), mu, logvar, mu, mu, torch.zeros(3, 3), None, None, None, None)


def make_measurements():
    config = GemConfig(model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2))
    return Measurements(config, 0, 10, CPU), RelationFeed(without_scores(DisGraph.empty(("a", "b", "c"))), CPU, 1)


def test_a_line_holds_the_means_of_its_window_only(process_group_of_one):
    measurements, feed = make_measurements()
    for step, kl in enumerate((1.0, 3.0)):
        measurements.add(step, make_terms(kl=kl), {}, make_outputs())
    first = measurements.reduce(2, feed, None)
    measurements.add(2, make_terms(kl=9.0), {}, make_outputs())
    second = measurements.reduce(3, feed, None)
    assert (first["kl"], second["kl"]) == (2.0, 9.0)
    assert first["epoch"] == pytest.approx(0.2)
    assert first["discriminator"] is None
    assert first["kl_nodes"] == pytest.approx([2.0, 2.0, 2.0])  # mu = 2 and logvar = 0: 0.5 * 2^2
    assert first["kl_residual"] == pytest.approx(4.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_term(process_group_of_one, bad):
    measurements, feed = make_measurements()
    measurements.add(40, make_terms(), {}, make_outputs())
    measurements.add(41, make_terms(align=bad, total=bad), {}, make_outputs())
    with pytest.raises(TrainingError, match="'align' is not finite at step 41; lower train.learning_rate"):
        measurements.reduce(42, feed, None)


def test_the_progress_line_says_how_far_and_how_long(process_group_of_one):
    measurements, feed = make_measurements()
    measurements.add(0, make_terms(), {}, make_outputs())
    text = progress_line(measurements.reduce(1, feed, None), 1200, 4000, 125.0)
    assert "1200/4000" in text
    assert "ETA 2:05" in text
    assert "DisGraph v0" in text


def test_a_critic_that_is_on_is_logged_and_the_others_are_not(process_group_of_one):
    config = GemConfig(
        model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2),
        objective=ObjectiveConfig(total_correlation="critic"),
    )
    measurements = Measurements(config, 0, 10, CPU)
    feed = RelationFeed(without_scores(DisGraph.empty(("a", "b", "c"))), CPU, 1)
    measurements.add(0, make_terms(), {"latent_critic": torch.tensor(0.7)}, make_outputs())
    line = measurements.reduce(1, feed, None)
    assert line["latent_critic"] == pytest.approx(0.7)
    assert line["discriminator"] is None


def test_a_line_says_what_the_questions_cost_and_zero_before_any():
    cost = Cost(asked=12, answered=11, failed=1, stored=5, prompt_tokens=900, seconds=2.5, money=0.25)
    status = RescorerStatus(
        phase="rounds", asked=12, missing=1, images_scored=2, rounds=1, questions_per_s=5.0, digit_mass=0.9,
        last_error="", cost=cost, useful_changes=3, budget_left=40, evicted=2,
    )  # fmt: skip
    line = scoring_fields(status)
    assert (line["questions_asked"], line["questions_missing"], line["useful_changes"]) == (12, 1, 3)
    assert (line["cost_stored"], line["cost_prompt_tokens"], line["cost_money"]) == (5, 900, 0.25)
    assert (line["budget_left"], line["looks_evicted"]) == (40, 2)
    assert set(scoring_fields(None)) == set(line)
    assert scoring_fields(None)["cost_asked"] == 0
