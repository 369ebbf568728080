"""From an evaluation to all the numbers of a report."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from gem_ray.config import GemConfig
from gem_ray.evaluation.evaluate import Evaluation
from gem_ray.evaluation.facts import (
    AttributeFacts,
    CostFacts,
    GraphFacts,
    NodeFacts,
    QualityFacts,
    RelationFacts,
    RunFacts,
    ScoringFacts,
    Summary,
)
from gem_ray.evaluation.history import History
from gem_ray.evaluation.ranking import RankedEdge, evidence_words, num_found, ranked_pairs
from gem_ray.evaluation.reconstruction import active_units, best_match
from gem_ray.evaluation.relations import agreement, fidelity_noise, relation_fidelity, traversal_gap
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.model_files import unfit_for
from gem_ray.scoring.checking.rates import scan_rates
from gem_ray.storage import Storage


def summarize(found: Evaluation, run: Storage) -> Summary:
    """All numbers of an evaluation."""
    active = active_units(found.codes.mu)
    return Summary(
        run=_run_facts(found, run),
        quality=QualityFacts(
            **found.quality._asdict(),
            latent_dim=len(found.kl),
            active_units=int(active.sum()),
            kl_nats=float(found.kl.sum()),
            kl_per_latent=tuple(found.kl.tolist()),
            change_per_latent=tuple(found.sensitivity.tolist()),
        ),
        nodes=_node_facts(found, active),
        graph=_graph_facts(found),
        scoring=_scoring_facts(found),
        mechanisms=mechanisms(found.config) | cautions(found),
    )


def _run_facts(found: Evaluation, run: Storage) -> RunFacts:
    config, history = found.config, found.history
    training_s = history.training_s(config.data.batch_size)
    return RunFacts(
        name=config.run.name,
        uri=run.uri,
        step=found.checkpoint.step,
        steps=config.train.steps,
        epochs=history.last("epoch"),
        training_s=training_s,
        images_per_s=found.checkpoint.step * config.data.batch_size / training_s if training_s else float("nan"),
        num_workers=config.train.num_workers,
        parameters=found.num_parameters,
        data_uri=config.data.uri,
        data_source=found.manifest.source,
        num_images=found.manifest.count,
        num_held_out=len(found.originals),
        image_size=found.originals.shape[-1],
        device=_device(config),
        versions={
            "Python": platform.python_version(),
            **{name: version(name) for name in ("gem-ray", "torch", "ray", "torch-geometric", "torchmetrics", "scipy")},
        },
    )


def _device(config: GemConfig) -> str:
    """What the workers ran on, as far as the machine that writes the report can tell."""
    if config.train.use_gpu:
        here = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "see the workers' logs"
        return f"GPU ({here})"
    return f"CPU ({platform.machine()}, {platform.system()})"


def _node_facts(found: Evaluation, active: np.ndarray) -> tuple[NodeFacts, ...]:
    names, dim = found.graph.attributes, found.config.model.node_dim
    truth, scores = found.of_truth, found.of_scores
    by = scores or truth
    match = None if by is None else best_match(by.spearman)
    return tuple(
        NodeFacts(
            name=name,
            kl_nats=float(found.kl[k * dim : (k + 1) * dim].sum()),
            active=bool(active[k * dim : (k + 1) * dim].any()),
            change_alone=float(found.changes.alone[k].mean()),
            change_through_graph=float(found.changes.through[k].mean()),
            match_strength=None if scores is None else _known(abs(scores.spearman[k, k])),
            order_of_scores=None if scores is None else _known(scores.order[k, k]),
            true_correlation=None if truth is None else _known(truth.spearman[k, k]),
            order_of_truth=None if truth is None else _known(truth.order[k, k]),
            best_match=None if match is None else names[match[k]],
        )
        for k, name in enumerate(names)
    )


def _graph_facts(found: Evaluation) -> GraphFacts:
    graph, pairs = found.graph, ranked_pairs(found.graph)
    off_diagonal = ~np.eye(len(graph.attributes), dtype=bool)
    edges = [edge for pair in pairs for edge in (pair.first, pair.second)]
    return GraphFacts(
        version=graph.version,
        digest=graph.digest(),
        known=float(np.isfinite(graph.standard_error)[off_diagonal].mean()),
        num_found=num_found(pairs)[0],
        agreement=None if found.truth is None else agreement(graph.strength, found.truth),
        refined_agreement=None if found.truth is None else agreement(found.refined, found.truth),
        fidelity_gap=relation_fidelity(graph),
        fidelity_noise=fidelity_noise(graph),
        traversal_gap=traversal_gap(graph),
        relations=tuple(_relation_facts(found, edge) for edge in edges),
    )


def _relation_facts(found: Evaluation, edge: RankedEdge) -> RelationFacts:
    graph = found.graph
    i, j = graph.index(edge.source), graph.index(edge.target)
    asked = found.spending.edge_questions[i, j]
    return RelationFacts(
        source=edge.source,
        target=edge.target,
        strength=edge.strength,
        standard_error=edge.standard_error,
        low=edge.low,
        high=edge.high,
        may_be_noise=edge.may_be_noise,
        confidence=edge.confidence,
        observations=evidence_words(edge),
        refined=float(found.refined[i, j]),
        sampled=edge.sampled,
        sampled_standard_error=_known(graph.sampled_standard_error[i, j]),
        fidelity=edge.fidelity,
        shown=_known(graph.shown[i, j]) if np.isfinite(graph.shown_standard_error[i, j]) else None,
        truth=None if found.truth is None else _known(found.truth[i, j]),
        questions=float(asked) if asked else None,
        evidence=graph.evidence[i][j],
        changed_version=int(graph.changed_version[i, j]),
        changed_step=int(graph.changed_step[i, j]),
    )


def _scoring_facts(found: Evaluation) -> ScoringFacts | None:
    if found.config.scoring.scorer == "none":
        return None
    history, scores = found.history, found.scores
    asked, missing = (int(np.nan_to_num(history.total(f"questions_{name}"))) for name in ("asked", "missing"))
    useful = _known(history.total("useful_changes"))
    rates = None if scores is None else scan_rates(scores.probabilities, scores.asked)
    return ScoringFacts(
        model=found.config.scoring.answerer,
        asked=asked,
        missing=missing,
        images_scored=0 if scores is None else len(scores.index),
        digit_mass=None if scores is None else scores.mean_digit_mass,
        zero_rate=None if rates is None else rates.all_zero,
        failure_rate=None if rates is None else rates.all_failure,
        attributes=()
        if scores is None or rates is None
        else tuple(
            AttributeFacts(name=name, zero_rate=_known(zero), failure_rate=_known(failure))
            for name, zero, failure in zip(scores.attributes, rates.zero, rates.failure, strict=True)
        ),
        useful_changes=None if useful is None else int(useful),
        questions_per_useful_change=asked / useful if useful else None,
        total=_total_cost(history),
        costs=tuple(
            _cost_facts(entry.kind.value, entry.pushes, entry.edges, entry.cost) for entry in found.spending.by_kind
        ),
    )


def _total_cost(history: History) -> CostFacts | None:
    """Cost of the whole run by the rescorer's counters; None for a run of gem_ray 0.1, which kept none."""
    totals = {field.name: _known(history.total(f"cost_{field.name}")) for field in dataclasses.fields(Cost)}
    if totals["asked"] is None:
        return None
    counts = {name: int(value or 0) for name, value in totals.items() if name not in ("seconds", "money")}
    cost = Cost(**counts, seconds=totals["seconds"] or 0.0, money=totals["money"] or 0.0)
    return _cost_facts("all", 0, 0, cost)


def _cost_facts(kind: str, pushes: int, edges: int, cost: Cost) -> CostFacts:
    return CostFacts(
        kind=kind,
        pushes=pushes,
        edges=edges,
        asked=cost.asked,
        stored=cost.stored,
        failed=cost.failed,
        prompt_tokens=cost.prompt_tokens,
        cached_tokens=cost.cached_tokens,
        seconds=cost.seconds,
        money=cost.money,
    )


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def cautions(found: Evaluation) -> dict[str, str]:
    """What a reader must know before believing anything: an MLLM that was never meant for these data."""
    scoring = found.config.scoring
    if scoring.scorer != "vllm":
        return {}
    checks = Storage(found.config.check.output, found.config.storage)
    unfit = unfit_for(scoring.model, found.manifest.source, found.graph.attributes, checks)
    return {"Caution": unfit} if unfit else {}


def mechanisms(config: GemConfig) -> dict[str, str]:
    """Which mechanisms were on, in words (method.md section 3: every report says so)."""
    objective, model = config.objective, config.model
    warmup = f", warmed up over {objective.kl_warmup_steps:,} steps" if objective.kl_warmup_steps else ""
    clamp = ", importance weights clamped to [0.5, 2]" if objective.importance_clamp else ""
    adversarial = f"joint KL on (x, z_rel), weight {objective.adversarial_weight:g}{clamp}"
    supervisor = "supervision by the labels" if config.scoring.scorer == "labels" else "weak supervision by the MLLM"
    alignment = f"on {objective.align_on}, weight {objective.align_weight:g}: {supervisor}"
    return {
        "Reconstruction": f"{objective.reconstruction}, weight {objective.reconstruction_weight:g}",
        "KL": f"beta {objective.beta:g}{warmup}",
        "Pull to the DisGraph": f"weight {objective.graph_weight:g}" if objective.graph_weight else "off",
        "Alignment of nodes": alignment if objective.align_weight else "off: nothing ties a node to its name",
        "Nodes kept apart from the residual": f"cross-covariance, weight {objective.cross_covariance_weight:g}"
        if objective.cross_covariance_weight
        else "off",
        "Adversarial term": adversarial if objective.adversarial_weight else "off",
        "Nodes": f"{model.num_nodes} of {model.node_dim} dimension{'s' if model.node_dim > 1 else ''}",
        "Residual latents": str(model.residual_dim) if model.residual_dim else "none, the setting of the paper",
        "Message passing": f"{model.gnn_layers} round{'s' if model.gnn_layers > 1 else ''}",
        "Rescoring": "none: the graph of the start"
        if config.scoring.scorer == "none"
        else f"by {config.scoring.answerer}",
    }
