"""Every option is read by somebody, has a line of help, and fails early where it cannot work."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gem_ray import config as options
from gem_ray.config import (
    CheckConfig,
    DataConfig,
    EvaluateConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    PretrainConfig,
    RunConfig,
    ScoringConfig,
    StorageConfig,
    TableConfig,
    TrainConfig,
)
from gem_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
SECTIONS = [cls for cls in vars(options).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)]
FIELDS = [(cls, field.name) for cls in SECTIONS for field in dataclasses.fields(cls)]
# What code calls a section that it was handed, beside the section's own name.
HANDED = {"config", "_config", "settings", "wanted", "cfg"}


def reads() -> set[tuple[str, str]]:
    """(name of what is asked, attribute) of every attribute read outside the configuration, as ("train", "steps")."""
    found = set()
    for package in ("gem_ray", "jobs", "serve"):
        for path in (ROOT / package).rglob("*.py"):
            if path.parent == ROOT / "gem_ray" / "config":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    owner = node.value
                    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                    found.add((name, node.attr))
    return found


def test_every_field_of_every_section_is_read_outside_the_configuration():
    found = reads()
    assert len(FIELDS) > 80
    unread = [
        f"{cls.__name__}.{name}"
        for cls, name in FIELDS
        if not any((owner, name) in found for owner in HANDED | {cls.__name__.removesuffix("Config").lower()})
    ]
    assert unread == []


def test_every_field_has_a_line_of_help_below_it():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "gem_ray" / "config").glob("*.py")]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == len(SECTIONS)
    silent = []
    for cls in (cls for cls in classes if cls.name != "GemConfig"):
        for statement, following in zip(cls.body, [*cls.body[1:], None]):
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            if isinstance(statement, ast.AnnAssign) and not is_text:
                silent.append(f"{cls.name}.{ast.unparse(statement.target)}")
    assert silent == []


def test_the_defaults_are_possible_and_not_shared():
    first, second = GemConfig(), GemConfig()
    assert first == second
    first.model.attributes.append("smile")
    assert second.model.attributes == list(options.PAPER_ATTRIBUTES)
    assert second.model.num_nodes == 6


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (
            lambda: GemConfig(data=DataConfig(batch_size=10), train=TrainConfig(num_workers=4)),
            ("data.batch_size=10", "train.num_workers=4"),
        ),
        (
            lambda: TrainConfig(num_workers=2, min_workers=3),
            ("train.min_workers=3", "train.num_workers=2"),
        ),
        (
            lambda: GemConfig(objective=ObjectiveConfig(align_batch=9), train=TrainConfig(num_workers=2)),
            ("objective.align_batch=9", "train.num_workers=2"),
        ),
        (
            lambda: GraphConfig(keep_versions=50, max_staleness=50),
            ("graph.keep_versions=50", "graph.max_staleness=50"),
        ),
        (
            lambda: ScoringConfig(max_in_flight=14, max_ongoing_requests=2, max_replicas=3, max_queued_requests=7),
            ("scoring.max_in_flight=14", "max_ongoing_requests", "max_replicas", "max_queued_requests", "= 13"),
        ),
    ],
)
def test_an_impossible_combination_names_all_its_fields(build: Callable[[], object], names: tuple[str, ...]):
    with pytest.raises(ConfigError) as caught:
        build()
    assert [name for name in names if name not in str(caught.value)] == []


def test_combinations_at_their_limit_are_allowed():
    ScoringConfig(max_in_flight=13, max_ongoing_requests=2, max_replicas=3, max_queued_requests=7)
    GraphConfig(keep_versions=51, max_staleness=50)
    GemConfig(data=DataConfig(batch_size=12), train=TrainConfig(num_workers=4))


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (StorageConfig, "attempts", 0),
        (ObjectiveConfig, "kl_warmup_steps", -1),
        (ObjectiveConfig, "align_batch", 0),
        (TrainConfig, "discriminator_learning_rate", 0.0),
        (ScoringConfig, "max_replicas", 0),
        (ScoringConfig, "batch_questions", 0),
        (ScoringConfig, "traversal_steps", 1),
        (ScoringConfig, "deadline_s", 0.0),
        (ScoringConfig, "min_digit_mass", 1.5),
        (PrepareConfig, "image_size", 7),
        (PrepareConfig, "max_bad_share", 1.5),
        (PrepareConfig, "crop", -1),
        (PrepareConfig, "num_images", -1),
        (PrepareConfig, "seed", -1),
        (PrepareConfig, "concurrency", 0),
        (PrepareConfig, "max_pixels", 63),
        (PrepareConfig, "shard_mb", 0),
        (DataConfig, "ingest", "disk"),
        (DataConfig, "batch_size", 0),
        (DataConfig, "window_shards", 0),
        (DataConfig, "holdout", 0),
        (ModelConfig, "network", "resnet"),
        (ModelConfig, "attributes", ["bald"]),
        (ModelConfig, "node_dim", 0),
        (ModelConfig, "width", 0),
        (ModelConfig, "gnn_layers", 0),
        (ModelConfig, "gnn_hidden", 0),
        (ModelConfig, "residual_dim", -1),
        (ObjectiveConfig, "reconstruction", "l2"),
        (ObjectiveConfig, "align_on", "mu"),
        (ObjectiveConfig, "beta", -0.1),
        (ObjectiveConfig, "graph_weight", -1.0),
        (ObjectiveConfig, "align_weight", -1.0),
        (ObjectiveConfig, "adversarial_weight", -1.0),
        (ObjectiveConfig, "reconstruction_weight", -1.0),
        (TrainConfig, "precision", "fp16"),
        (TrainConfig, "steps", 0),
        (TrainConfig, "num_workers", 0),
        (TrainConfig, "seed", -1),
        (TrainConfig, "checkpoint_every_steps", 0),
        (TrainConfig, "keep_checkpoints", 0),
        (TrainConfig, "log_every_steps", 0),
        (TrainConfig, "learning_rate", 0.0),
        (StorageConfig, "timeout_s", 0.0),
        (StorageConfig, "patience_s", -1.0),
        (GraphConfig, "poll_every_s", 0.0),
        (GraphConfig, "refresh_every_steps", 0),
        (GraphConfig, "max_change", 2.5),
        (GraphConfig, "max_staleness", -1),
        (GraphConfig, "snapshot_every_pushes", 0),
        (ScoringConfig, "scorer", "gpt"),
        (PretrainConfig, "num_threads", 0),
        (PretrainConfig, "learning_rate", -1.0),
        (PretrainConfig, "log_every_s", -1.0),
        (PretrainConfig, "seed", -1),
        (CheckConfig, "seed", -1),
        (EvaluateConfig, "seed", -1),
        (TableConfig, "seeds", [0, -1]),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(cls, name, value):
    section = cls.__name__.removesuffix("Config").lower()
    with pytest.raises(ConfigError, match=re.escape(f"{section}.{name}={value!r}")):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [(TrainConfig, "learning_rate", "nan"), (TrainConfig, "learning_rate", "inf"), (ObjectiveConfig, "beta", "nan")],
)
def test_a_value_that_is_not_a_number_is_refused(cls, name, value):
    with pytest.raises(ConfigError, match=name):
        cls(**{name: float(value)})


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a b", "x" * 65, "run\n", "naïve"])
def test_a_run_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(ConfigError, match="run.name"):
        RunConfig(name=name)


@pytest.mark.parametrize("name", ["a", "Run-1_b.c", "x" * 64])
def test_a_plain_run_name_is_taken(name):
    assert RunConfig(name=name).name == name
