"""Cells are found again by what they are, and compared only where they are alike."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gem_ray.config import (
    DataConfig,
    GemConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.config_json import config_to_json
from gem_ray.errors import ConfigError
from gem_ray.table.cells import changed_options, check_equal_budget, group_hash, make_cell
from gem_ray.table.shared_scores import share_scores


def test_a_cells_run_lies_in_the_tables_folder_under_a_name_of_method_data_and_seed():
    cell = make_cell("beta_vae", "faces", 2, GemConfig(objective=ObjectiveConfig(beta=4.0), train=TrainConfig(seed=2)))
    assert cell.config.run.uri == "runs/table/runs"
    assert cell.config.run.name == f"faces-beta_vae-s2-{cell.group}"


def test_seeds_share_their_hash_and_any_option_that_matters_changes_it():
    base = GemConfig()
    assert group_hash(replace(base, train=TrainConfig(seed=7))) == group_hash(base)
    assert group_hash(replace(base, train=TrainConfig(log_every_s=1.0))) == group_hash(base)
    assert group_hash(replace(base, run=RunConfig(name="other"))) == group_hash(base)
    elsewhere = ObjectiveConfig(perceptual_weights="/elsewhere/vgg16.safetensors")
    assert group_hash(replace(base, objective=elsewhere)) == group_hash(base)
    others = [
        replace(base, train=TrainConfig(steps=10)),
        replace(base, objective=ObjectiveConfig(beta=4.0)),
        replace(base, model=ModelConfig(residual_dim=4)),
        replace(base, scoring=ScoringConfig(scorer="none")),
    ]
    assert len({group_hash(base), *map(group_hash, others)}) == 5


OPERATIONAL = ScoringConfig(
    max_replicas=4,
    target_ongoing_requests=8,
    upscale_delay_s=30,
    tensor_parallel=4,
    num_gpus=4,
    num_cpus=8,
    max_model_len=4096,
    max_queued_requests=64,
    max_in_flight=16,
    batch_questions=24,
    deadline_s=300,
    start_timeout_s=3600,
    wait_s=5,
    answers_bytes=0,
    price_per_hour=3.5,
)


def test_how_fast_and_for_how_much_an_mllm_answers_names_no_cell_and_no_scan():
    slow = GemConfig(scoring=OPERATIONAL, prepare=PrepareConfig(concurrency=64))
    assert group_hash(slow) == group_hash(GemConfig())
    assert changed_options(json.loads(config_to_json(slow)), GemConfig()) == []
    shared, run = share_scores("faces", slow)
    _, as_it_was = share_scores("faces", GemConfig())
    assert run is not None
    assert as_it_was is not None
    assert run.storage == as_it_was.storage
    assert run.config.scoring == OPERATIONAL, "the scan itself is made as asked for"
    assert shared.scoring.scores_from == run.storage.uri


def test_what_an_mllm_is_asked_names_the_scan_and_the_cells_that_have_its_scores_but_no_others():
    asked = ScoringConfig(wordings=2, initial_images=1_500)
    assert group_hash(GemConfig(scoring=asked)) != group_hash(GemConfig())
    scans = [share_scores("faces", config)[1] for config in (GemConfig(), GemConfig(scoring=asked))]
    assert len({scan.storage.uri for scan in scans if scan is not None}) == 2
    alone, asked_alone = (GemConfig(scoring=replace(one, scorer="none")) for one in (ScoringConfig(), asked))
    assert group_hash(alone) == group_hash(asked_alone) != group_hash(GemConfig())
    assert changed_options(json.loads(config_to_json(alone)), asked_alone) == []


def test_a_stored_configuration_is_compared_in_the_options_that_both_know():
    config = GemConfig(objective=ObjectiveConfig(beta=4.0))
    stored = json.loads(config_to_json(config))
    assert changed_options(stored, config) == []
    stored["train"]["log_every_s"] = 99
    stored["objective"]["of_another_version"] = 1
    del stored["objective"]["align_batch"]
    assert changed_options(stored, config) == []
    stored["objective"]["beta"] = 1.0
    assert changed_options(stored, config) == ["objective.beta=1.0, now 4.0"]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (GemConfig(train=TrainConfig(steps=10)), "train.steps is 10 and 3500"),
        (GemConfig(data=DataConfig(batch_size=64)), "data.batch_size is 64 and 128"),
        (GemConfig(model=ModelConfig(residual_dim=4)), "model.residual_dim is 4 and 26"),
        (GemConfig(data=DataConfig(uri="data/more")), "data.uri is data/more and data/faces"),
    ],
)
def test_methods_of_unequal_budget_are_not_put_into_one_table(other: GemConfig, named: str):
    cells = [make_cell("vae", "faces", 0, GemConfig()), make_cell("gem", "faces", 0, other)]
    with pytest.raises(ConfigError, match=named):
        check_equal_budget(cells)


def test_data_sets_may_differ_in_budget_and_methods_in_their_objective():
    gem = GemConfig(objective=ObjectiveConfig(beta=4.0))
    longer = GemConfig(train=TrainConfig(steps=10))
    check_equal_budget(
        [
            make_cell("vae", "faces", 0, GemConfig()),
            make_cell("gem", "faces", 0, gem),
            make_cell("vae", "flow", 0, longer),
        ]
    )


def test_a_name_that_no_run_can_have_is_refused():
    with pytest.raises(ConfigError, match="a/b"):
        make_cell("a/b", "faces", 0, GemConfig())


def test_methods_that_would_ask_the_mllm_share_one_run_of_scores_per_data_and_attributes():
    asking, run = share_scores("faces", GemConfig())
    assert run is not None
    assert asking.scoring.scorer == "stored"
    assert asking.scoring.scores_from == run.storage.uri
    assert run.config.scoring.scorer == "vllm"
    same = share_scores("faces", GemConfig(objective=ObjectiveConfig(beta=4.0), train=TrainConfig(seed=3)))[1]
    assert same is not None
    assert same.storage == run.storage
    frozen, still = share_scores("faces", GemConfig(scoring=ScoringConfig(round_images=0, sample_images=0)))
    assert still is not None
    assert still.storage == run.storage, "what is asked later has no part in it"
    assert frozen == asking
    other = share_scores("faces", GemConfig(model=ModelConfig(attributes=["bald", "beard"])))[1]
    assert other is not None
    assert other.storage != run.storage


def test_a_method_that_asks_no_mllm_is_left_as_it_is():
    config = GemConfig(scoring=ScoringConfig(scorer="labels"))
    assert share_scores("faces", config) == (config, None)
