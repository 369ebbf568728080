"""What the report's pictures need beyond an ``Evaluation``: swaps, films, what follows a node, and what latents tell.

Shape suffixes: B images, L latents, F factors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.data.loader import holdout_records
from gem_ray.evaluation.animation import eased
from gem_ray.evaluation.associations import Associations, associate
from gem_ray.evaluation.evaluate import MOST_SCORED, Evaluation, read_rows, to_tensor
from gem_ray.evaluation.evaluation_facts import HealthFacts
from gem_ray.evaluation.followers import Follow, follow_edges, strong_edges
from gem_ray.evaluation.health import code_health
from gem_ray.evaluation.ranking import ranked_pairs
from gem_ray.evaluation.reconstruction import Codes, active_units, encode_all
from gem_ray.evaluation.swaps import Swaps, swap_nodes
from gem_ray.evaluation.traversals import Traversals, traverse_some
from gem_ray.models.gem import Gem
from gem_ray.scoring.looking.codes import load_gem
from gem_ray.storage import Storage

SWAPPED_PAIRS = 3
EXAMPLES = 5
FILM_FRAMES = 16
FILM_NODES = 8
"""Nodes of a film: those that change most."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Material of pictures.

    Args:
        film_nodes: indices of the nodes in ``films``
        films: traversals of the two images of the first pair of ``swaps``, which differ most
        film_steps: [T] where the node stands in each frame, from 0 to 1
        follows: examples of the graph's strongest relations; empty where none is known
        health: whether the code is used
        associations: with the true factors, else with the MLLM's digits, else None
    """

    swaps: Swaps
    film_nodes: tuple[int, ...]
    films: Traversals
    film_steps: NDArray[np.float64]
    follows: tuple[Follow, ...]
    health: HealthFacts
    associations: Associations | None


def make_pictures(found: Evaluation, data: Storage) -> Pictures:
    """Decode and measure all of it from the checkpoint that was evaluated.

    Raises:
        DataError: data that cannot be read
    """
    model = load_gem(found.checkpoint)
    strength = torch.tensor(found.graph.strength, dtype=torch.float32)
    mu = found.codes.mu
    swaps = swap_nodes(model, strength, mu, SWAPPED_PAIRS)
    nodes = _most_changing(found)
    steps = eased(FILM_FRAMES)
    starts = mu[swaps.pairs[:1].flatten()]
    edges = strong_edges(ranked_pairs(found.graph), EXAMPLES)
    return Pictures(
        swaps=swaps,
        film_nodes=nodes,
        films=traverse_some(model, strength, starts, mu, nodes, torch.tensor(steps, dtype=torch.float32)),
        film_steps=steps,
        follows=tuple(follow_edges(model, strength, mu, found.codes.z_rel, found.graph.attributes, edges)),
        health=code_health(
            found.codes, found.sensitivity, model.config.node_dim, found.graph.attributes, found.quality.explained
        ),
        associations=_associations(found, data, model, strength),
    )


def _most_changing(found: Evaluation) -> tuple[int, ...]:
    change = found.changes.through.flatten(1).mean(dim=1)
    return tuple(sorted(torch.argsort(change, descending=True, stable=True)[:FILM_NODES].tolist()))


def _associations(found: Evaluation, data: Storage, model: Gem, strength: Tensor) -> Associations | None:
    known = found.manifest.attributes
    held_out = holdout_records(data, found.manifest, found.config.data)
    if known and held_out.attributes is not None:
        source = "the true factors of held-out images"
        return _associate(found, found.codes, held_out.attributes, tuple(known), source)
    if found.scores is None:
        return None
    chosen = np.sort(np.argsort(found.scores.index, kind="stable")[:MOST_SCORED])
    images = to_tensor(read_rows(data, found.manifest, found.scores.index[chosen]))
    codes = encode_all(model, images, strength)
    digits = np.rint(found.scores.expectations[chosen])
    return _associate(found, codes, digits, found.scores.attributes, "the MLLM's digits on the images it scored")


def _associate(
    found: Evaluation, codes: Codes, values_BF: NDArray[np.floating], factors: tuple[str, ...], source: str
) -> Associations:
    return associate(
        codes.mu.double().numpy(),
        codes.z_rel.double().numpy(),
        values_BF,
        names=found.graph.attributes,
        node_dim=found.config.model.node_dim,
        active_L=active_units(codes.mu),
        factors=factors,
        source=source,
    )
