"""Other relations in place of the estimated ones: the controls that show whether the relations matter.

What training gets is a DisGraph in which the evidence about the data has changed places; evidence about the model, the
version and the table of scores stay, so that alignment, checkpoints and looks at the model go on as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gem_ray.errors import ConfigError
from gem_ray.graph.disgraph import FOLLOWED, DisGraph
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EvidenceKind

VARIANTS = ("estimated", "permuted", "random", "symmetric", "none")


def variant(graph: DisGraph, kind: str, seed: int) -> DisGraph:
    """The graph that training is given in place of an estimated one.

    Args:
        kind: ``estimated`` the graph itself; ``permuted`` every attribute has the relations of another one;
            ``random`` the weights are dealt to other edges; ``symmetric`` the mean of both directions;
            ``none`` no relation is known
        seed: of the permutations

    Raises:
        ConfigError: an unknown kind
    """
    n = len(graph.attributes)
    if kind == "estimated":
        return graph
    if kind == "permuted":
        places = derangement(n, seed)
        return _rearranged(graph, *np.meshgrid(places, places, indexing="ij"))
    if kind == "random":
        return _rearranged(graph, *dealt_edges(n, seed))
    if kind == "symmetric":
        layers = {layer: _symmetric(graph.layers[layer]) for layer in FOLLOWED}
        return _with(graph, (graph.strength + graph.strength.T) / 2, layers)
    if kind == "none":
        return _with(graph, np.zeros((n, n)), {layer: Layer.unknown(n) for layer in FOLLOWED})
    raise ConfigError(f"graph.relations={kind!r} is not known; choose one of {', '.join(VARIANTS)}")


def derangement(n: int, seed: int) -> NDArray[np.int64]:
    """A permutation of n >= 2 places in which none stays where it was."""
    rng = np.random.default_rng([seed, n])
    while True:
        places = rng.permutation(n)
        if (places != np.arange(n)).all():
            return places


def dealt_edges(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every place of an [n, n] matrix the source and target of the edge that it gets; the diagonal stays."""
    rows, columns = np.indices((n, n))
    off_diagonal = rows != columns
    dealt = np.random.default_rng([seed, n, n]).permutation(off_diagonal.sum())
    sources, targets = rows.copy(), columns.copy()
    sources[off_diagonal], targets[off_diagonal] = rows[off_diagonal][dealt], columns[off_diagonal][dealt]
    return sources, targets


def _rearranged(graph: DisGraph, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> DisGraph:
    layers = {kind: _layer_rearranged(graph.layers[kind], sources, targets) for kind in FOLLOWED}
    return _with(graph, graph.strength[sources, targets], layers)


def _layer_rearranged(layer: Layer, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> Layer:
    ids = np.array(layer.evidence, dtype=object)[sources, targets]
    return Layer(
        value=layer.value[sources, targets],
        standard_error=layer.standard_error[sources, targets],
        num_observations=layer.num_observations[sources, targets],
        step=layer.step[sources, targets],
        version=layer.version[sources, targets],
        evidence=tuple(tuple(row) for row in ids.tolist()),
    )


def _symmetric(layer: Layer) -> Layer:
    """Both directions share their images, so the error of their mean is the mean of their errors at most."""
    return replace(
        layer,
        value=(layer.value + layer.value.T) / 2,
        standard_error=(layer.standard_error + layer.standard_error.T) / 2,
    )


def _with(graph: DisGraph, strength: NDArray[np.float64], layers: Mapping[EvidenceKind, Layer]) -> DisGraph:
    return replace(graph, strength=strength, layers={**graph.layers, **layers})
