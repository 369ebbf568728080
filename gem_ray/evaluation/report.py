"""The report of a run: figures, ``summary.json`` and one HTML page that needs nothing else to be read."""

from __future__ import annotations

import base64
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations
from typing import Any, NamedTuple

import jinja2
import numpy as np
import torch

from gem_ray.config import GemConfig
from gem_ray.config_json import config_to_json
from gem_ray.evaluation.drawings import draw_figures
from gem_ray.evaluation.evaluate import Evaluation, evaluate
from gem_ray.evaluation.graph_figures import signed
from gem_ray.evaluation.history import History
from gem_ray.evaluation.reconstruction import active_units, best_match
from gem_ray.evaluation.relations import agreement, relation_fidelity
from gem_ray.evaluation.summary import (
    GraphFacts,
    NodeFacts,
    QualityFacts,
    RelationFacts,
    RunFacts,
    ScoringFacts,
    Summary,
    duration,
    format_summary,
    share,
)
from gem_ray.scoring.model_files import unfit_for
from gem_ray.storage import Storage

__all__ = ["Summary", "format_summary", "write_report"]
MOST_PAIRS = 60
PIXEL_DENSITY = 1.6


class Picture(NamedTuple):
    """An inlined image and the width, in CSS pixels, at which its type is easy to read on a screen of any density."""

    uri: str
    width: int

    @staticmethod
    def of(png: bytes) -> Picture:
        """From PNG bytes, whose header holds the width."""
        width = int.from_bytes(png[16:20], "big")
        return Picture("data:image/png;base64," + base64.b64encode(png).decode(), round(width / PIXEL_DENSITY))


def write_report(run: Storage, data: Storage, config: GemConfig) -> Summary:
    """Evaluate the newest checkpoint and write ``figures/``, ``summary.json`` and ``report.html`` to the run's folder.

    Args:
        run: the run's folder
        data: the data it was trained on
        config: the run's configuration

    Raises:
        DataError: no checkpoint to report on, or data that do not fit it
        StorageError: a folder that cannot be read or written
    """
    found = evaluate(run, data, config)
    figures = draw_figures(found)
    summary = summarize(found, run)
    for name, picture in figures.items():
        run.write_bytes(f"figures/{name}.png", picture)
    run.write_bytes("summary.json", summary.to_json().encode())
    run.write_bytes("report.html", render(summary, figures, config).encode())
    return summary


def render(summary: Summary, figures: dict[str, bytes], config: GemConfig) -> str:
    """The page; images are inlined, and every text from outside is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gem_ray", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"signed": _signed, "share": share, "duration": duration, "number": _number}
    pictures = {name: Picture.of(png) for name, png in figures.items()}
    return environment.get_template("report.html.j2").render(
        summary=summary,
        pictures=pictures,
        traversals=[picture for name, picture in sorted(pictures.items()) if name.startswith("traversals_")],
        pairs=ranked_pairs(summary)[:MOST_PAIRS],
        num_pairs=len(summary.nodes) * (len(summary.nodes) - 1) // 2,
        config_json=config_to_json(config),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _signed(value: float | None) -> str:
    return signed(float("nan") if value is None else value)


def _number(value: float | None, digits: int = 2) -> str:
    """A number with that many decimals, an en dash where there is none."""
    return "–" if value is None or not np.isfinite(value) else f"{value:,.{digits}f}".replace("-", "−")


def ranked_pairs(summary: Summary) -> list[tuple[RelationFacts, RelationFacts]]:
    """Both directions of every pair, the stronger one first, pairs by their stronger strength."""
    edges = {(edge.source, edge.target): edge for edge in summary.graph.relations}
    names = [node.name for node in summary.nodes]
    pairs = []
    for a, b in combinations(names, 2):
        first, second = sorted((edges[a, b], edges[b, a]), key=lambda edge: -abs(edge.strength))
        pairs.append((first, second))
    return sorted(pairs, key=lambda pair: -abs(pair[0].strength))


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
        scoring=_scoring_facts(found, found.history),
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
    graph, names = found.graph, found.graph.attributes
    off_diagonal = ~np.eye(len(names), dtype=bool)
    known = np.isfinite(graph.standard_error)
    relations = tuple(
        RelationFacts(
            source=names[i],
            target=names[j],
            strength=float(graph.strength[i, j]),
            standard_error=_known(graph.standard_error[i, j]),
            confidence=float(graph.confidence[i, j]),
            refined=float(found.refined[i, j]),
            shown=_known(graph.shown[i, j]),
            truth=None if found.truth is None else _known(found.truth[i, j]),
            evidence=graph.evidence[i][j],
            changed_version=int(graph.changed_version[i, j]),
            changed_step=int(graph.changed_step[i, j]),
        )
        for i, j in np.argwhere(off_diagonal)
    )
    return GraphFacts(
        version=graph.version,
        digest=graph.digest(),
        known=float(known[off_diagonal].mean()),
        agreement=None if found.truth is None else agreement(graph.strength, found.truth),
        refined_agreement=None if found.truth is None else agreement(found.refined, found.truth),
        fidelity_gap=relation_fidelity(graph),
        relations=relations,
    )


def _scoring_facts(found: Evaluation, history: History) -> ScoringFacts | None:
    if found.config.scoring.scorer == "none":
        return None
    asked, missing = (np.nan_to_num(history.last(name)) for name in ("questions_asked", "questions_missing"))
    mass = None if found.scores is None else _known(np.nanmean(found.scores.digit_mass))
    return ScoringFacts(
        model=found.config.scoring.model,
        asked=int(asked),
        missing=int(missing),
        images_scored=0 if found.scores is None else len(found.scores.index),
        digit_mass=mass,
    )


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def cautions(found: Evaluation) -> dict[str, str]:
    """What a reader must know before believing anything: an MLLM that was never meant for these data."""
    scoring = found.config.scoring
    unfit = unfit_for(scoring.model, found.manifest.source) if scoring.scorer != "none" else None
    return {"Caution": unfit} if unfit else {}


def mechanisms(config: GemConfig) -> dict[str, str]:
    """Which mechanisms were on, in words (method.md section 3: every report says so)."""
    objective, model = config.objective, config.model
    warmup = f", warmed up over {objective.kl_warmup_steps:,} steps" if objective.kl_warmup_steps else ""
    clamp = ", importance weights clamped to [0.5, 2]" if objective.importance_clamp else ""
    adversarial = f"joint KL on (x, z_rel), weight {objective.adversarial_weight:g}{clamp}"
    alignment = f"on {objective.align_on}, weight {objective.align_weight:g}: weak supervision by the MLLM"
    return {
        "Reconstruction": f"{objective.reconstruction}, weight {objective.reconstruction_weight:g}",
        "KL": f"beta {objective.beta:g}{warmup}",
        "Pull to the DisGraph": f"weight {objective.graph_weight:g}" if objective.graph_weight else "off",
        "Alignment of nodes": alignment if objective.align_weight else "off: nothing ties a node to its name",
        "Adversarial term": adversarial if objective.adversarial_weight else "off",
        "Nodes": f"{model.num_nodes} of {model.node_dim} dimension{'s' if model.node_dim > 1 else ''}",
        "Residual latents": str(model.residual_dim) if model.residual_dim else "none, the setting of the paper",
        "Message passing": f"{model.gnn_layers} round{'s' if model.gnn_layers > 1 else ''}",
        "Rescoring": "none: the graph of the start"
        if config.scoring.scorer == "none"
        else f"by {config.scoring.model}",
    }
