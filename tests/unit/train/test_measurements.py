"""What is logged is the mean over the window, and a loss that is not finite stops the run by name."""

import time

import pytest
import torch

from gem_ray.config import GemConfig, ModelConfig, ObjectiveConfig
from gem_ray.errors import TrainingError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.losses.gem import LossTerms
from gem_ray.messages.rescorer import Cost, RescorerStatus
from gem_ray.models.gem import Gem, GemOutputs
from gem_ray.telemetry import METRICS, Kind
from gem_ray.train.measurements import PARTS, Measurements, progress_line, record_line, scoring_fields
from gem_ray.train.relation_feed import RelationFeed, without_scores

CPU = torch.device("cpu")


def make_terms(**values):
    terms = dict.fromkeys(LossTerms._fields, 1.0) | values
    return LossTerms(**{name: torch.tensor(value) for name, value in terms.items()})


def make_outputs():
    mu, logvar = torch.full((2, 5), 2.0), torch.zeros(2, 5)
    return GemOutputs(torch.zeros(1), mu, logvar, mu, mu, torch.zeros(3, 3), None, None, None, None)


def make_gem(config):
    """A small model whose first parameter alone has a gradient: its norm is 5."""
    gem = Gem(config.model, 32)
    first = gem.trained_parameters()[0]
    first.grad = torch.zeros_like(first)
    first.grad.view(-1)[:2] = torch.tensor([3.0, 4.0])
    return gem


def make_measurements():
    config = GemConfig(model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2))
    feed = RelationFeed(without_scores(DisGraph.empty(("a", "b", "c"))), CPU, 1)
    return Measurements(config, 0, 10, make_gem(config)), feed


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
    measurements = Measurements(config, 0, 10, make_gem(config))
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


def test_the_parts_of_a_step_add_up_to_all_of_its_time_and_waiting_for_data_is_idle(process_group_of_one):
    measurements, feed = make_measurements()

    def slow_batches():
        for number in range(4):
            time.sleep(0.05)
            yield number

    for step in measurements.waited_for(slow_batches()):
        with measurements.timing("step"):
            time.sleep(0.01)
            measurements.add(step, make_terms(), {}, make_outputs())
    line = measurements.reduce(4, feed, None)
    seconds = {part: line[f"seconds_{part}"] for part in (*PARTS, "sync", "other")}
    assert sum(seconds.values()) * line["images_per_s"] == pytest.approx(GemConfig().data.batch_size, rel=1e-6)
    assert seconds["data"] >= 0.05
    assert seconds["step"] >= 0.01
    assert 0.5 < line["idle_share"] < 1
    assert line["gradient_norm"] == pytest.approx(5.0)


def test_a_window_begins_without_the_times_of_the_one_before(process_group_of_one):
    measurements, feed = make_measurements()
    with measurements.timing("checkpoint"):
        time.sleep(0.05)
    measurements.add(0, make_terms(), {}, make_outputs())
    assert measurements.reduce(1, feed, None)["seconds_checkpoint"] >= 0.05
    measurements.add(1, make_terms(), {}, make_outputs())
    assert measurements.reduce(2, feed, None)["seconds_checkpoint"] == 0


def test_a_line_is_exported_whole_and_a_broken_loss_by_its_term(process_group_of_one, recorded):
    measurements, feed = make_measurements()
    measurements.add(0, make_terms(kl=3.0), {}, make_outputs())
    config = GemConfig(model=ModelConfig(attributes=["a", "b", "c"], residual_dim=2))
    record_line(measurements.reduce(1, feed, None), 1, config, 2)
    found = {
        (name, labels.get("term") or labels.get("node") or labels.get("part")): value
        for name, value, labels in recorded
    }
    assert {name for name, _ in found} == {
        name for name, metric in METRICS.items() if metric.part == "Training" and metric.kind is Kind.GAUGE
    } - {"gem_checkpoint_step"}
    assert found["gem_train_loss_term", "kl"] == 3.0
    assert found["gem_train_kl_node", "b"] == pytest.approx(2.0)
    assert found["gem_train_kl_node", "residual"] == pytest.approx(4.0)
    assert found["gem_train_workers", None] == 2
    recorded.clear()
    measurements.add(1, make_terms(align=float("nan"), total=float("nan")), {}, make_outputs())
    with pytest.raises(TrainingError):
        measurements.reduce(2, feed, None)
    assert recorded == [("gem_train_not_finite", 1.0, {"run": "faces", "term": "align"})]
