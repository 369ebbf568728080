"""Which figures a report holds: every one of them, drawn from an ``Evaluation``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gem_ray.evaluation.curve_figures import latents_figure, losses_figure, rescoring_figure
from gem_ray.evaluation.evaluate import Evaluation
from gem_ray.evaluation.fidelity_figures import fidelity_figure
from gem_ray.evaluation.graph_figures import (
    Panel,
    agreement_figure,
    heatmaps_figure,
    network_figure,
    readings_figure,
)
from gem_ray.evaluation.image_figures import (
    change_figure,
    reconstructions_figure,
    samples_figure,
    traversal_figure,
)
from gem_ray.evaluation.ranking import ranked_pairs
from gem_ray.evaluation.ranking_figures import ranking_figure
from gem_ray.evaluation.relations import edge_fidelity
from gem_ray.graph.layers import confidence_of
from gem_ray.messages import EvidenceKind

SHOWN_RECONSTRUCTIONS = 36
MOST_DRAWN_NODES = 16  # an arrow for every pair of more nodes cannot be told apart


def draw_figures(found: Evaluation) -> dict[str, bytes]:
    """PNG bytes by name; a figure without anything to show is left out."""
    attributes, graph = found.graph.attributes, found.graph
    figures = {
        "reconstructions": reconstructions_figure(
            _pictures(found.originals[:SHOWN_RECONSTRUCTIONS]), _pictures(found.reconstructions[:SHOWN_RECONSTRUCTIONS])
        ),
        "samples": samples_figure(_pictures(found.samples)),
        "latents": latents_figure(found.kl, found.sensitivity, attributes, found.config.model.node_dim),
        "changes": change_figure(
            found.changes.through.double().numpy(), found.changes.alone.double().numpy(), attributes
        ),
        "relations": heatmaps_figure(relation_panels(found), attributes),
    }
    for start in range(found.traversals.through.shape[0]):
        figures[f"traversals_{start + 1}"] = traversal_figure(
            _pictures(found.traversals.through[start]), _pictures(found.traversals.alone[start]), attributes
        )
    if len(attributes) <= MOST_DRAWN_NODES and np.any(graph.strength):
        figures["network"] = network_figure(graph.strength, graph.confidence, attributes)
    if found.truth is not None and np.isfinite(graph.standard_error).any():
        figures["agreement"] = agreement_figure(graph.strength, graph.standard_error, found.truth, attributes)
    if np.isfinite(graph.standard_error).any():
        figures["ranking"] = ranking_figure(ranked_pairs(graph), graph.version)
    if np.isfinite(edge_fidelity(graph)).any():
        figures["fidelity"] = fidelity_figure(graph, found.looks)
    tables = [
        (title, readings.order)
        for title, readings in (("The true attribute", found.of_truth), ("The MLLM's digit", found.of_scores))
        if readings is not None
    ]
    if tables:
        figures["readings"] = readings_figure(tables, attributes)
    if found.history.measurements:
        figures["losses"] = losses_figure(found.history, attributes)
        if found.config.scoring.scorer == "vllm":
            figures["rescoring"] = rescoring_figure(found.history)
    return figures


def relation_panels(found: Evaluation) -> list[Panel]:
    """The DisGraph, and beside it what it can be held against."""
    graph = found.graph
    known = np.where(np.isfinite(graph.standard_error), graph.strength, np.nan)
    panels = [Panel(title=f"DisGraph, version {graph.version}", values=known, confidence=graph.confidence)]
    if found.truth is not None:
        panels.append(Panel(title="Truth", values=found.truth))
    panels.append(Panel(title="Refined by the model", values=found.refined))
    for title, kind in (("Model's own images", EvidenceKind.SAMPLES), ("Model's traversals", EvidenceKind.TRAVERSALS)):
        layer = graph.layers[kind]
        known = np.isfinite(layer.standard_error)
        if known.any():
            values = np.where(known, layer.value, np.nan)
            panels.append(Panel(title=title, values=values, confidence=confidence_of(layer.standard_error)))
    return panels


def _pictures(images: torch.Tensor) -> NDArray[np.float64]:
    """[..., 3, H, W] to arrays with the colour last."""
    return images.movedim(-3, -1).double().numpy()
