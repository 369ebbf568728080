"""One look of the MLLM at each data set for a whole table, so that its cells differ in nothing but their method.

Methods that would have an MLLM of their own get its stored answers instead: a frozen prior and equal evidence.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from gem_ray.config import GemConfig, PrepareConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.storage import Storage
from gem_ray.table.cells import FREE, HASH_CHARS, RUNS

ASKS = "vllm"
# Options of what an MLLM is asked after its first scan, which shared scores leave out.
LATER = (
    "judgements",
    "policy",
    "questions_per_minute",
    "round_images",
    "traversal_images",
    "sample_images",
    "traversal_steps",
    "round_every_s",
)


@dataclass(frozen=True)
class ScoresRun:
    """A run that only holds scores: of the first images of one data set, about one list of attributes."""

    experiment: str
    config: GemConfig

    @property
    def storage(self) -> Storage:
        """Its folder, which cells name in ``scoring.scores_from``."""
        return Storage(f"{self.config.run.uri}/{self.config.run.name}", self.config.storage)


def share_scores(experiment: str, config: GemConfig) -> tuple[GemConfig, ScoresRun | None]:
    """The configuration with stored scores in place of an MLLM, and the run that must make them first.

    A configuration that asks no MLLM comes back as it is, with None.
    """
    if config.scoring.scorer != ASKS:
        return config, None
    defaults = ScoringConfig()
    scoring = replace(config.scoring, **{name: getattr(defaults, name) for name in LATER})
    config = replace(config, scoring=scoring)
    prepared, asked = with_free_at_default("prepare", config.prepare), with_free_at_default("scoring", scoring)
    said = [prepared, config.data.uri, config.data.holdout, config.model.attributes, asked]
    key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:HASH_CHARS]
    uri = f"{config.table.output}/{RUNS}"
    run = ScoresRun(experiment, replace(config, run=replace(config.run, name=f"{experiment}-scores-{key}", uri=uri)))
    return replace(config, scoring=replace(scoring, scorer="stored", scores_from=run.storage.uri)), run


def with_free_at_default(group: str, options: PrepareConfig | ScoringConfig) -> dict[str, Any]:
    """Options of a group, those that no answer depends on at their default, so that a name never hangs on them."""
    defaults = type(options)()
    return {
        name: getattr(defaults, name) if f"{group}.{name}" in FREE else value for name, value in asdict(options).items()
    }


def make_scores(scores: ScoresRun) -> None:
    """Have the MLLM answer about the first ``scoring.initial_images`` training images, unless that is done.

    Needs a running Ray and prepared data. Stopped and run again it goes on where it was.

    Raises:
        GemRayError: see ``scanning.run_scan``
    """
    # These import Ray, which reads its environment as it is imported: the session has set it by now.
    from gem_ray.data.loader import num_train
    from gem_ray.data.manifest import read_manifest
    from gem_ray.scoring.checking.scanning import run_scan
    from gem_ray.scoring.rescoring.scores import fullest_scores, write_scores
    from gem_ray.train.trainer import ensure_data

    config, run = scores.config, scores.storage
    data = Storage(config.data.uri, config.storage)
    wanted = min(config.scoring.initial_images, num_train(config.data, read_manifest(data)))
    there = fullest_scores(run, config.model.attributes)
    if there is not None and len(there[0].index) >= wanted:
        return
    ensure_data(config, data)  # says so where the MLLM is no match for these data
    print(f"scoring {wanted:,} images of {scores.experiment} once, for all cells", flush=True)
    run.write_bytes("config.json", config_to_json(config).encode())
    found = run_scan(replace(config, scan=replace(config.scan, images=wanted)))
    write_scores(run, found.table, found.model)
