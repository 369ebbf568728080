"""Roles become labels that Ray schedules by."""

from __future__ import annotations

from gem_ray.config import GemConfig, PlacementConfig, TrainConfig
from gem_ray.placement import coordinator_options, label_selector
from gem_ray.train.trainer import scaling


def test_a_role_is_asked_for_by_its_label_and_no_role_by_none():
    assert label_selector("train") == {"gem-ray/role": "train"}
    assert label_selector("") is None


def test_what_a_run_cannot_do_without_lies_on_nodes_of_its_role():
    assert coordinator_options("stable", in_local_folder=False) == {"label_selector": {"gem-ray/role": "stable"}}
    assert coordinator_options("", in_local_folder=False) == {}


def test_training_lies_on_nodes_of_its_role():
    placed = scaling(GemConfig(placement=PlacementConfig(training="train")))
    assert placed.label_selector == {"gem-ray/role": "train"}
    assert scaling(GemConfig()).label_selector is None


def test_workers_are_as_many_as_asked_for_or_a_range():
    assert scaling(GemConfig(train=TrainConfig(num_workers=2))).num_workers == 2
    assert scaling(GemConfig(train=TrainConfig(num_workers=2, min_workers=2))).num_workers == 2
    elastic = scaling(GemConfig(train=TrainConfig(num_workers=2, min_workers=1, grow_every_s=5.0)))
    assert elastic.num_workers == (1, 2)
    assert elastic.elastic_resize_monitor_interval_s == 5.0
