"""The work of ``jobs.evaluate``: everything that is measured of a run's newest checkpoint, in plain torch and numpy."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.config import EvaluateConfig, GemConfig
from gem_ray.data.loader import holdout_records
from gem_ray.data.manifest import Manifest, read_manifest
from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.dci import num_trees
from gem_ray.evaluation.disentanglement.scores import Effort, Split, checked_metrics, score_all
from gem_ray.evaluation.disentanglement.udr import Udr, udr
from gem_ray.evaluation.disentanglement.unsupervised import dependence
from gem_ray.evaluation.evaluate import to_tensor, true_relations
from gem_ray.evaluation.evaluation_facts import EvaluationFacts, RelationScores, write_evaluation
from gem_ray.evaluation.health import code_health, code_sensitivity
from gem_ray.evaluation.image_scores import distance_scores, reconstruction_scores
from gem_ray.evaluation.node_scores import node_scores
from gem_ray.evaluation.own_images import relations_of_own_images
from gem_ray.evaluation.progress import Say, WorkMeter, silent
from gem_ray.evaluation.reconstruction import Codes, decode_all, encode_all
from gem_ray.evaluation.relation_scores import relation_scores
from gem_ray.evaluation.scored_points import ScoredPoints, scored_points
from gem_ray.losses.gem import kl_per_dimension
from gem_ray.scoring.looking.codes import NewestModel, newest_model
from gem_ray.storage import Storage

Scores = dict[str, float | None]


class Disentanglement(NamedTuple):
    """Scores by set of codes, and what they were computed with; empty where the data know no factors."""

    scores: dict[str, Scores]
    settings: dict[str, str | int | float]


class Clock:
    """Wall seconds of the parts of a computation."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def evaluate_codes(config: GemConfig, run: Storage, data: Storage, say: Say = silent) -> EvaluationFacts:
    """Measure the newest checkpoint of a run and write ``evaluation.json`` into its folder. No Ray is needed.

    Args:
        config: the run's, with the ``evaluate`` options wanted
        data: what it was trained on, or other data of the same size and attributes
        say: takes lines of progress

    Raises:
        ConfigError: an unknown metric, or a network that is asked for and cannot be had
        DataError: no checkpoint, data that do not fit it, or attributes that cannot be scored
    """
    metrics, clock, cpu = checked_metrics(config.evaluate.metrics), Clock(), time.process_time()
    newest, manifest = loaded(run, data)
    names = newest.graph.attributes
    held_out = to_tensor(holdout_records(data, manifest, config.data).images)
    with clock.part("reconstruction"):
        codes = encode_all(newest.model, held_out, newest.strength)
        reconstruction = reconstruction_scores(held_out, decode_all(newest.model, codes.z_rel), config)
    with clock.part("distances"):
        distances = distance_scores(newest, data, manifest, config, say)
    with clock.part("health"):
        explained = reconstruction.explained
        change, node_dim = code_sensitivity(newest.model, codes), newest.model.config.node_dim
        health = code_health(codes, change, node_dim, names, float("nan") if explained is None else explained)
    for warning in health.warnings:
        say(f"WARNING: {warning}")
    with clock.part("relations"):
        read = relations_of_own_images(newest, data, manifest, config, say)
        relations = relations_of_run(newest, codes, true_relations(data, manifest, names), manifest, read)
    with clock.part("codes"):
        points = scored_points(newest, data, manifest, config)
    found = Disentanglement({}, {}) if points is None else disentanglement(points, config.evaluate, metrics, clock, say)
    clock.seconds["cpu"] = time.process_time() - cpu
    facts = EvaluationFacts(
        run=run.uri,
        step=newest.step,
        seed=config.train.seed,
        data_uri=data.uri,
        data_source=manifest.source,
        images="none: the data know no attributes" if points is None else points.images,
        reduction="none" if points is None else points.reduction,
        factors=() if points is None else points.factors.facts,
        before=found.scores.get("before", {}),
        after=found.scores.get("after", {}),
        named_before=found.scores.get("named_before", {}),
        named_after=found.scores.get("named_after", {}),
        nodes=() if points is None else node_scores(points, names),
        reconstruction=reconstruction,
        distances=distances,
        relations=relations,
        health=health,
        settings={**found.settings},
        seconds=clock.seconds,
    )
    write_evaluation(run, facts)
    return facts


def disentanglement(
    points: ScoredPoints, wanted: EvaluateConfig, metrics: Sequence[str], clock: Clock, say: Say
) -> Disentanglement:
    """The scores of every set of codes that is wanted and is a set of its own."""
    chosen = [name for name in wanted.codes if not (name.startswith("named") and _all_named(points))]
    splits = {name: split for name in chosen if (split := points.split(name)) is not None}
    equal = {name: _equal_before(name, splits) for name in splits}  # a model without a graph has the same codes twice
    alone = {name: split for name, split in splits.items() if equal[name] is None}
    work = {name: _trees(split) if "dci" in metrics else 0 for name, split in alone.items()}
    meter = WorkMeter("disentanglement", sum(work.values()) or 1, say)
    say(f"disentanglement of {', '.join(splits)} on {points.images}, {len(points.factors.names)} factors")
    scores: dict[str, Scores] = {}
    settings: dict[str, str | int | float] = {}
    for name, split in splits.items():
        num_codes = split.codes.shape[1]
        settings[f"num_codes_{name}"] = num_codes
        twin = equal[name]
        if twin is not None:
            scores[name] = {**scores[twin]}
            continue
        table = score_all(split, Effort(wanted.seed, wanted.workers, meter.counting(num_codes)), metrics)
        scores[name] = {**table.scores}
        settings |= table.settings
        clock.seconds |= {f"{name}.{metric}": seconds for metric, seconds in table.seconds.items()}
    binned = [fact.name for fact in points.factors.facts if 1 < fact.num_classes < fact.num_values]
    settings |= {"factor_bins": wanted.bins, "binned_factors": ", ".join(binned) or "none"}
    return Disentanglement(scores, settings)


def _equal_before(name: str, splits: Mapping[str, Split]) -> str | None:
    """The set of codes before this one that is the same, number by number."""
    for other in splits:
        if other == name:
            return None
        if all(np.array_equal(a, b) for a, b in zip(splits[other].arrays, splits[name].arrays, strict=True)):
            return other
    return None


def _all_named(points: ScoredPoints) -> bool:
    """Without residual latents the named nodes are all there is."""
    return points.z_NL.shape[1] == points.num_nodes * points.node_dim


def _trees(split: Split) -> float:
    """What DCI costs, which is nearly all: trees, each the dearer the more codes there are."""
    return float(num_trees(split.factors).sum()) * split.codes.shape[1]


def loaded(run: Storage, data: Storage) -> tuple[NewestModel, Manifest]:
    """The newest model of a run, and the data's manifest.

    Raises:
        DataError: no checkpoint, or data of another size than it was trained on
    """
    newest = newest_model(run)
    if newest is None:
        raise DataError(f"{run.uri} has no complete checkpoint to evaluate; run python -m jobs.train first")
    manifest = read_manifest(data)
    if manifest.shape[0] != newest.model.image_size:
        raise DataError(
            f"{data.uri} holds images of side {manifest.shape[0]}, {run.uri} was trained on {newest.model.image_size}; "
            "set data.uri to the data of the run"
        )
    return newest, manifest


def relations_of_run(
    newest: NewestModel,
    codes: Codes,
    truth: NDArray[np.float64] | None,
    manifest: Manifest,
    read: Mapping[str, NDArray[np.float64]],
) -> RelationScores:
    """Every graph of the run against the truth, and how much goes together among the nodes of the held-out images."""
    return replace(
        relation_scores(newest.graph, refined_strength(newest), truth, manifest, read),
        nodes_before=total_correlation_of_nodes(newest, codes.mu),
        nodes_after=total_correlation_of_nodes(newest, codes.z_rel),
    )


def total_correlation_of_nodes(newest: NewestModel, codes_NL: Tensor) -> float:
    """Gaussian total correlation in nats of the named latents; infinite where one is a linear function of others."""
    return dependence(codes_NL[:, : newest.model.named_dim].double().numpy()).total_correlation


@torch.no_grad()
def refined_strength(newest: NewestModel) -> NDArray[np.float64]:
    """[K, K]: the adjacency that the model refined."""
    return newest.model.refined_adjacency(newest.strength).double().numpy()


def udr_of_runs(config: GemConfig, runs: Sequence[Storage], data: Storage, relation: str = "lasso") -> Udr:
    """UDR of several runs of one configuration that differ in their seed, by z of the held-out images.

    All latents count, named and residual, each dimension on its own. Named nodes are tied to their names by alignment,
    so that they come back in every seed whatever the residual latents do: compare only methods with the same alignment.

    Raises:
        DataError: fewer than two runs, a run without a checkpoint, or data that do not fit it
    """
    models = [loaded(run, data) for run in runs]
    if not models:
        raise DataError("UDR compares at least two runs of one configuration, none was given")
    images = to_tensor(holdout_records(data, models[0][1], config.data).images)
    codes: list[Codes] = [encode_all(newest.model, images, newest.strength) for newest, _ in models]
    return udr(
        [one.mu.double().numpy() for one in codes],
        [kl_per_dimension(one.mu, one.logvar).double().numpy() for one in codes],
        relation,
    )
