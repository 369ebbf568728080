"""Which figures and films a report holds: every one of them, drawn from an ``Evaluation`` and its ``Pictures``."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gem_ray.evaluation.animation import Film
from gem_ray.evaluation.association_figures import associations_figure
from gem_ray.evaluation.curve_figures import latents_figure, losses_figure, rescoring_figure
from gem_ray.evaluation.evaluate import Evaluation
from gem_ray.evaluation.fidelity_figures import fidelity_figure
from gem_ray.evaluation.film_figures import propagation_film
from gem_ray.evaluation.follow_figures import follows_figure
from gem_ray.evaluation.graph_figures import Panel, heatmaps_figure, network_figure, readings_figure
from gem_ray.evaluation.image_figures import (
    change_figure,
    reconstructions_figure,
    samples_figure,
    traversal_figure,
)
from gem_ray.evaluation.pictures import Pictures
from gem_ray.evaluation.ranking import ranked_pairs
from gem_ray.evaluation.ranking_figures import ranking_figure
from gem_ray.evaluation.relations import edge_fidelity
from gem_ray.evaluation.swap_figures import swaps_figure
from gem_ray.evaluation.truth_figures import against_truth_figure, agreement_figure
from gem_ray.graph.layers import confidence_of
from gem_ray.messages.graph import EvidenceKind

SHOWN_RECONSTRUCTIONS = 36
MOST_FILM_BYTES = 1_600_000  # a report stays under 15 MB
MOST_DRAWN_NODES = 16  # an arrow for every pair of more nodes cannot be told apart


def draw_films(found: Evaluation, extra: Pictures) -> dict[str, Film]:
    """Films by name, one for each start."""
    names = [found.graph.attributes[node] for node in extra.film_nodes]
    return {
        f"film_{start + 1}": propagation_film(
            _pictures(through), _pictures(alone), extra.film_steps, names, MOST_FILM_BYTES
        )
        for start, (through, alone) in enumerate(zip(*extra.films))
    }


def draw_figures(found: Evaluation, extra: Pictures) -> dict[str, bytes]:
    """PNG bytes by name; a figure without anything to show is left out."""
    figures = _images(found, extra) | _nodes(found, extra) | _relations(found)
    if found.history.measurements:
        figures["losses"] = losses_figure(found.history, found.graph.attributes)
        if found.config.scoring.scorer == "vllm":
            figures["rescoring"] = rescoring_figure(found.history)
    return figures


def _images(found: Evaluation, extra: Pictures) -> dict[str, bytes]:
    attributes, swaps = found.graph.attributes, extra.swaps
    figures = {
        "reconstructions": reconstructions_figure(
            _pictures(found.originals[:SHOWN_RECONSTRUCTIONS]), _pictures(found.reconstructions[:SHOWN_RECONSTRUCTIONS])
        ),
        "samples": samples_figure(_pictures(found.samples)),
        "changes": change_figure(
            found.changes.through.double().numpy(), found.changes.alone.double().numpy(), attributes
        ),
        "swaps": swaps_figure(
            _pictures(found.originals[swaps.pairs]),
            _pictures(swaps.reconstructions),
            _pictures(swaps.swapped),
            swaps.distance,
            attributes,
        ),
    }
    for start, (through, alone) in enumerate(zip(*found.traversals)):
        figures[f"traversals_{start + 1}"] = traversal_figure(_pictures(through), _pictures(alone), attributes)
    if extra.follows:
        figures["follows"] = follows_figure(extra.follows, attributes)
    return figures


def _nodes(found: Evaluation, extra: Pictures) -> dict[str, bytes]:
    attributes, node_dim = found.graph.attributes, found.config.model.node_dim
    figures = {"latents": latents_figure(found.kl, found.sensitivity, attributes, node_dim)}
    if extra.associations is not None:
        figures["associations"] = associations_figure(extra.associations, len(attributes) * node_dim)
    tables = [
        (title, readings.order)
        for title, readings in (("The true attribute", found.of_truth), ("The MLLM's digit", found.of_scores))
        if readings is not None
    ]
    if tables:
        figures["readings"] = readings_figure(tables, attributes)
    return figures


def _relations(found: Evaluation) -> dict[str, bytes]:
    attributes, graph = found.graph.attributes, found.graph
    known = bool(np.isfinite(graph.standard_error).any())
    figures = {"relations": heatmaps_figure(relation_panels(found), attributes)}
    if found.truth is not None:
        figures["against_truth"] = against_truth_figure(_disgraph_panel(found), found.truth, attributes)
    if len(attributes) <= MOST_DRAWN_NODES and np.any(graph.strength):
        figures["network"] = network_figure(graph.strength, graph.confidence, attributes)
    if found.truth is not None and known:
        figures["agreement"] = agreement_figure(graph.strength, graph.standard_error, found.truth, attributes)
    if known:
        figures["ranking"] = ranking_figure(ranked_pairs(graph), graph.version)
    if np.isfinite(edge_fidelity(graph)).any():
        figures["fidelity"] = fidelity_figure(graph, found.looks)
    return figures


def _disgraph_panel(found: Evaluation) -> Panel:
    graph = found.graph
    known = np.where(np.isfinite(graph.standard_error), graph.strength, np.nan)
    return Panel(title=f"DisGraph, version {graph.version}", values=known, confidence=graph.confidence)


def relation_panels(found: Evaluation) -> list[Panel]:
    """The DisGraph, where it does not stand beside the truth already, and what the model makes of it."""
    graph = found.graph
    panels = [] if found.truth is not None else [_disgraph_panel(found)]
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
