"""The cells of a table: one training run each, named by what it is, so that the same command finds it again.

Cells of one data set and seed differ in their method only: steps, batch, latents and data must be the same, or the
comparison would be of something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from gem_ray.absolute_paths import absolute
from gem_ray.config import RUN_NAME, GemConfig
from gem_ray.errors import ConfigError

RUNS = "runs"
# What a trained model depends on. The other groups are about where and how fast, or act after training.
GROUPS = ("prepare", "data", "model", "objective", "train", "graph", "scoring")
# Of those groups, what may change in mid-run without another outcome.
FREE = {
    "train.log_every_s",
    "train.log_every_steps",
    "train.keep_checkpoints",
    "train.checkpoint_every_steps",
    "train.max_failures",
    "train.min_workers",
    "train.grow_every_s",
    "data.uri",
    "data.memory_limit_gb",
    "objective.perceptual_weights",
    "prepare.concurrency",
    "scoring.scores_from",
    # How fast and on what the MLLM answers: its answers are the same.
    "scoring.min_replicas",
    "scoring.max_replicas",
    "scoring.target_ongoing_requests",
    "scoring.upscale_delay_s",
    "scoring.downscale_delay_s",
    "scoring.tensor_parallel",
    "scoring.max_model_len",
    "scoring.num_cpus",
    "scoring.num_gpus",
    "scoring.max_ongoing_requests",
    "scoring.max_queued_requests",
    "scoring.max_in_flight",
    "scoring.batch_questions",
    "scoring.deadline_s",
    "scoring.start_timeout_s",
    "scoring.wait_s",
    "scoring.answers_bytes",
    "scoring.price_per_million_tokens",
    "scoring.price_per_hour",
}
BUDGET = ("train.steps", "train.learning_rate", "train.num_workers", "data.batch_size", "data.holdout")
LATENTS = ("model.node_dim", "model.residual_dim", "model.attributes", "model.network", "model.width")
HASH_CHARS = 8


@dataclass(frozen=True)
class Cell:
    """One training run of a table.

    Args:
        config: complete; its run is the cell's own folder below the table's
        group: short hash of all options that the outcome depends on, but for the seed
    """

    method: str
    experiment: str
    seed: int
    config: GemConfig
    group: str

    @property
    def label(self) -> str:
        """For a person."""
        return f"{self.experiment} {self.method} seed {self.seed}"


def with_absolute_output(config: GemConfig) -> GemConfig:
    """The table's folder as every process sees it: a Ray worker may run in another working directory."""
    return replace(config, table=replace(config.table, output=absolute(config.table.output).rstrip("/")))


def make_cell(method: str, experiment: str, seed: int, config: GemConfig) -> Cell:
    """A cell whose run lies in ``TABLE/runs/EXPERIMENT-METHOD-sSEED-HASH``.

    Raises:
        ConfigError: a name that a run cannot have
    """
    group = group_hash(config)
    name = f"{experiment}-{method}-s{seed}-{group}"
    if RUN_NAME.fullmatch(name) is None:
        raise ConfigError(
            f"the cell {name!r} cannot be the name of a run: names of methods and data sets are letters, digits, dots, "
            "dashes and underscores, up to 64 of them together"
        )
    run = replace(config.run, name=name, uri=f"{config.table.output}/{RUNS}")
    return Cell(method, experiment, seed, replace(config, run=run), group)


def fixed_options(config: GemConfig) -> dict[str, Any]:
    """The options that the outcome depends on, by dotted name; where there are no scores, none about them."""
    groups = asdict(config)
    if config.scoring.scorer == "none":
        groups["scoring"] = {"scorer": "none"}
    flat = {f"{group}.{name}": value for group in GROUPS for name, value in groups[group].items()}
    return {path: value for path, value in flat.items() if path not in FREE}


def group_hash(config: GemConfig) -> str:
    """Hash of the fixed options that are not at their default, without the seed.

    A new option with its default leaves it as it was; ``changed_options`` finds a changed default.
    """
    defaults = fixed_options(GemConfig())
    chosen = {path: value for path, value in fixed_options(config).items() if value != defaults[path]}
    chosen.pop("train.seed", None)
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:HASH_CHARS]


def changed_options(stored: dict[str, dict[str, Any]], config: GemConfig) -> list[str]:
    """Fixed options whose value differs from that of a stored configuration, as "objective.beta=1.0, now 4.0".

    Args:
        stored: the JSON of a run's ``config.json``; options that only one of the two knows are passed over
    """
    changed = []
    for path, now in json.loads(json.dumps(fixed_options(config))).items():
        group, name = path.split(".")
        if name in stored.get(group, {}) and stored[group][name] != now:
            changed.append(f"{path}={stored[group][name]}, now {now}")
    return changed


def check_equal_budget(cells: Sequence[Cell]) -> None:
    """Refuse a table whose methods differ in budget or latents within a data set.

    Raises:
        ConfigError: naming two methods, the option and both values
    """
    first: dict[str, Cell] = {}
    for cell in cells:
        reference = first.setdefault(cell.experiment, cell)
        ours, theirs = fixed_options(cell.config), fixed_options(reference.config)
        for path in (*BUDGET, *LATENTS, *(name for name in ours if name.startswith("prepare."))):
            if ours[path] != theirs[path]:
                raise ConfigError(
                    f"{cell.method} and {reference.method} would not be compared alike on {cell.experiment}: {path} is "
                    f"{ours[path]} and {theirs[path]}; set it once for the whole table"
                )
        if cell.config.data.uri != reference.config.data.uri:
            raise ConfigError(
                f"{cell.method} and {reference.method} read different data on {cell.experiment}: data.uri is "
                f"{cell.config.data.uri} and {reference.config.data.uri}"
            )
