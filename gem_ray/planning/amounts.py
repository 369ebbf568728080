"""How much a run writes, asks and costs, by formula. Bytes are 10^9 to the GB, as storage is sold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gem_ray.config import GemConfig
from gem_ray.planning.memory import FLOAT, data_bytes, num_parameters
from gem_ray.planning.nodes import ClusterShape
from gem_ray.scoring.rescoring.judgements import pair_requests

ITEM = 8  # bytes of an image's position in its source, beside the pixels
DIGITS = 6  # an answer is a distribution over the digits 0 to 5
DOUBLE = 8
KEPT_TABLES = 10  # of scores (gem_ray/scoring/rescoring/scores.py)
STORED_ANSWER = 39  # bytes: 100,000 answers take 3.9 MB (docs/results.md)
METRICS_LINE, TENSORBOARD_LINE = 1_000, 1_400  # bytes: 195,755 and 277,417 of 215 lines of the default run
REPORT = 25e6  # figures and report.html of the default run: 22 MB
HOURS_A_MONTH = 730.0


@dataclass(frozen=True, kw_only=True)
class StoredBytes:
    """Bytes that data and a run take in storage once it has ended."""

    shards: float
    checkpoints: float
    scores: float
    answers: float
    logs: float
    report: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.shards + self.checkpoints + self.scores + self.answers + self.logs + self.report


def stored_bytes(config: GemConfig, num_images: int, image_size: int) -> StoredBytes:
    """What is kept.

    shards: N (3 S^2 + 8); checkpoints: ``keep_checkpoints`` x 12 P, model and both moments of Adam; scores: the ten
    newest tables of rows x attributes x (6 + 1) x 8, rows being the images of the first scan, to which each later
    round adds ``round_images`` at most; answers: 39 bytes for each of ``questions_at_most``,
    ``scoring.answers_bytes`` at most.
    The journal and evidence of the DisGraph are under a megabyte a thousand pushes and are left out.
    """
    numbers = num_parameters(config, image_size)
    asked = config.scoring.scorer == "vllm"
    rows = min(num_images, config.scoring.initial_images) if asked else 0
    lines = config.train.steps / config.train.log_every_steps
    return StoredBytes(
        shards=data_bytes(num_images, image_size) + float(ITEM * num_images),
        checkpoints=float(config.train.keep_checkpoints * 3 * FLOAT * numbers),
        scores=float(KEPT_TABLES * rows * config.model.num_nodes * (DIGITS + 1) * DOUBLE),
        answers=float(min(config.scoring.answers_bytes, STORED_ANSWER * questions_at_most(config, num_images))),
        logs=lines * (METRICS_LINE + TENSORBOARD_LINE),
        report=REPORT,
    )


def first_questions(config: GemConfig, num_images: int) -> int:
    """Questions of the first scan: images x attributes x wordings; those about grey images, to calibrate, are few."""
    if config.scoring.scorer != "vllm":
        return 0
    images = min(num_images, config.scoring.initial_images)
    return images * config.model.num_nodes * config.scoring.wordings


def questions_at_most(config: GemConfig, num_images: int) -> int:
    """Questions of the first scan and of all later rounds, where neither time nor a budget ends them.

    wordings x (n x images + checkpoints x (n x ``sample_images`` + n^2 x ``traversal_images`` x ``traversal_steps``)),
    images being all there are unless ``round_images`` is 0, and the four questions and wordings of each of n (n - 1)
    judgements.
    """
    scoring, n = config.scoring, config.model.num_nodes
    if scoring.scorer != "vllm":
        return 0
    data = num_images * n * scoring.wordings if scoring.round_images else first_questions(config, num_images)
    checkpoints = math.ceil(config.train.steps / config.train.checkpoint_every_steps)
    shown = n * scoring.sample_images + n**2 * scoring.traversal_images * scoring.traversal_steps
    judged = n * (n - 1) * len(pair_requests("source", "target", scoring.wordings)) if scoring.judgements else 0
    return data + checkpoints * shown * scoring.wordings + judged


def training_hours(config: GemConfig, images_per_second_per_worker: float, workers: int) -> float:
    """Hours of steps: steps x batch / (workers x rate). Rates add up, as long as exchanging gradients is not felt."""
    return config.train.steps * config.data.batch_size / (workers * images_per_second_per_worker) / 3600


@dataclass(frozen=True)
class Price:
    """Price of an hour of some nodes, and the types whose price nobody has given."""

    an_hour: float
    unknown: tuple[str, ...]


def price_of(nodes: Counter[str], cluster: ClusterShape, prices: Sequence[str]) -> Price:
    """Price of an hour of nodes by type; spot nodes at TYPE/spot, and on demand where that has no price."""
    table = {name: float(price) for name, _, price in (text.rpartition(":") for text in prices)}
    total, unknown = 0.0, []
    for kind in cluster.node_types:
        count = nodes[kind.name]
        price = table.get(f"{kind.instance}/spot", table.get(kind.instance)) if kind.spot else table.get(kind.instance)
        if count and price is None:
            unknown.append(kind.instance)
        total += count * (price or 0.0)
    return Price(total, tuple(unknown))


def duration(hours: float) -> str:
    """Hours in words that suit their size."""
    if not math.isfinite(hours):
        return "for ever"
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
