"""Assembles the signals of ``selection`` from a DisGraph and what the newest checkpoint tells.

Of the data (scores, judgements) the strength itself is in doubt. Of the model (traversals, samples) it is whether what
was seen then is still so: there a signal is how far the learned weight has moved since the look.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import OF_THE_MODEL
from gem_ray.messages.graph import EvidenceKind
from gem_ray.models.gem import refine
from gem_ray.models.learner import learned_offset
from gem_ray.scoring.choosing.selection import FRESH_LOOK, EdgeSignals, SignalWeights

INFLUENCE = "edge_influence"
"""Key of the influence in a checkpoint's state, written by ``train.saving``."""


def learned_strength(model: Mapping[str, Tensor], strength: NDArray[np.floating]) -> NDArray[np.float64]:
    """The weights training uses: prior plus learned offset, as ``Gem.refined_adjacency`` has them.

    Args:
        model: tensors of a checkpoint
        strength: [n, n] of a DisGraph

    Raises:
        DataError: no offset for a graph of this size among the tensors
    """
    offset = learned_offset({name.removeprefix("gem."): tensor for name, tensor in model.items()})
    if offset is None or tuple(offset.shape) != strength.shape:
        found = "none" if offset is None else f"one of shape {tuple(offset.shape)}"
        raise DataError(
            f"the checkpoint has no edge offset for a graph of {len(strength)} attributes (it has {found}); "
            "it is of another model, use another run.name"
        )
    refined = refine(torch.tensor(strength, dtype=torch.float64), offset.detach().cpu().double())
    learned: NDArray[np.float64] = refined.numpy()
    return learned


def influence_of(state: Mapping[str, Any], num_attributes: int) -> NDArray[np.float64] | None:
    """Mean |dLoss/dA| [n, n] of a checkpoint's state; None where it has none (one of an earlier version).

    Raises:
        DataError: it does not fit the number of attributes
    """
    rows = state.get(INFLUENCE)
    if rows is None:
        return None
    try:
        influence = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the checkpoint's {INFLUENCE} is not a table of numbers: {error}") from error
    if influence.shape != (num_attributes, num_attributes):
        raise DataError(
            f"the checkpoint's {INFLUENCE} has the shape {influence.shape}, the graph {num_attributes} attributes"
        )
    return influence


def signals_of(
    graph: DisGraph,
    kind: EvidenceKind,
    *,
    step: int | None = None,
    influence: NDArray[np.float64] | None = None,
    learned: NDArray[np.float64] | None = None,
    learned_then: NDArray[np.float64] | None = None,
    order_gap: NDArray[np.float64] | None = None,
) -> EdgeSignals:
    """The signals for asking again by one kind of evidence; what is None is unknown.

    Args:
        step: of the newest checkpoint, needed for the age of evidence about the model
        influence: [n, n] from ``influence_of``
        learned: [n, n] from ``learned_strength`` of the newest checkpoint
        learned_then: [n, n] the same of the checkpoint in which each pair was last looked at, NaN where unknown; for
            evidence about the model only
        order_gap: [n, n] of the pair judgements, NaN where there was none
    """
    n, layer = len(graph.attributes), graph.layers[kind]
    unknown = np.full((n, n), np.nan)
    if kind in OF_THE_MODEL:
        standard_error, before = layer.standard_error, learned_then
        age = np.where((layer.step >= 0) & (step is not None), (step or 0) - layer.step, np.inf)
    else:
        standard_error, before = graph.standard_error, graph.strength
        age = np.where(layer.version > 0, graph.version - layer.version, np.inf)
    return EdgeSignals(
        standard_error=standard_error,
        order_gap=unknown if order_gap is None else order_gap,
        influence=unknown if influence is None else influence,
        disagreement=unknown if learned is None or before is None else np.abs(learned - before),
        age=np.maximum(age, 0).astype(np.float64),
        num_observations=layer.num_observations,
    )


def weights_of(kind: EvidenceKind) -> SignalWeights:
    """How the signals count for one kind of evidence."""
    return FRESH_LOOK if kind in OF_THE_MODEL else SignalWeights()
