"""The points that disentanglement is scored on: codes and factors of a stretch of the data, before and after the graph.

Shape suffixes: N points, L latents, J attributes of the data, K nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gem_ray.config import GemConfig
from gem_ray.data.loader import holdout_records
from gem_ray.data.manifest import Manifest
from gem_ray.data.shards import Records, read_records
from gem_ray.errors import DataError
from gem_ray.evaluation.disentanglement.nodes import NodeReduction
from gem_ray.evaluation.disentanglement.scores import Split
from gem_ray.evaluation.evaluate import to_tensor
from gem_ray.evaluation.factors import Factors, factors_of
from gem_ray.scoring.looking.codes import NewestModel
from gem_ray.storage import Storage

LEAST_POINTS = 150
CHUNK = 1_024


@dataclass(frozen=True, kw_only=True)
class ScoredPoints:
    """Codes and factors of the same images; the first ``num_train`` points are what classifiers learn from.

    Args:
        z_NL, z_rel_NL: means of the codes, before and after message passing
        images: which they are, in words
        num_nodes, node_dim: how the first latents form nodes
    """

    z_NL: NDArray[np.float64]
    z_rel_NL: NDArray[np.float64]
    factors: Factors
    num_train: int
    images: str
    num_nodes: int
    node_dim: int

    def split(self, codes: str) -> Split | None:
        """One of ``config.evaluate.CODE_SETS`` as the metrics take it; None where it would be fewer than two codes.

        Nodes of several dimensions are reduced to one number each, learned on the train points.
        """
        latents = self.z_NL if codes.endswith("before") else self.z_rel_NL
        reduced = NodeReduction.fit(latents[: self.num_train], self.num_nodes, self.node_dim)(latents)
        if codes.startswith("named"):
            reduced = reduced[:, : self.num_nodes]
        if reduced.shape[1] < 2:
            return None
        return Split(
            codes=reduced[: self.num_train],
            factors=self.factors.classes[: self.num_train],
            test_codes=reduced[self.num_train :],
            test_factors=self.factors.classes[self.num_train :],
            values=self.factors.values,
            labels=self.factors.labels,
        )

    @property
    def reduction(self) -> str:
        """How nodes became numbers."""
        if self.node_dim == 1:
            return "none: every node is one number"
        return (
            f"each node of {self.node_dim} dimensions is scored by its first principal component over the train "
            "points; not to be compared with published scores of scalar latents"
        )


def scored_points(newest: NewestModel, data: Storage, manifest: Manifest, config: GemConfig) -> ScoredPoints | None:
    """Codes and factors of the images of ``evaluate.images``; None where the data know no attributes.

    Raises:
        DataError: too few images, or attributes that cannot be scored (see ``factors_of``)
    """
    if not manifest.attributes:
        return None
    wanted = config.evaluate
    records, images = _records(data, manifest, config)
    assert records.attributes is not None
    count = len(records.images)
    if count < LEAST_POINTS:
        raise DataError(
            f"{count} images are too few to score codes on, {LEAST_POINTS} are the least: set evaluate.images=all, or "
            "prepare more images"
        )
    num_train = wanted.num_train if count == wanted.num_train + wanted.num_test else 2 * count // 3
    factors = factors_of(manifest.attributes, records.attributes, most_values=wanted.most_values, bins=wanted.bins)
    z, z_rel = _encoded(newest, records)
    return ScoredPoints(
        z_NL=z,
        z_rel_NL=z_rel,
        factors=factors,
        num_train=num_train,
        images=images,
        num_nodes=newest.model.config.num_nodes,
        node_dim=newest.model.config.node_dim,
    )


def _records(data: Storage, manifest: Manifest, config: GemConfig) -> tuple[Records, str]:
    """As many as are wanted and there are, and which they are."""
    wanted = config.evaluate
    number = wanted.num_train + wanted.num_test
    if wanted.images == "held_out":
        held_out = holdout_records(data, manifest, config.data)
        chosen = slice(0, min(number, len(held_out.images)))
        attributes = None if held_out.attributes is None else held_out.attributes[chosen]
        return (
            Records(held_out.images[chosen], held_out.index[chosen], attributes),
            f"{chosen.stop:,} held-out images",
        )
    # Records were shuffled when they were prepared, so that a stretch is as good a sample as any and quick to read.
    number = min(number, manifest.count)
    start = int(np.random.default_rng(wanted.seed).integers(manifest.count - number + 1))
    return read_records(data, manifest, start, start + number), f"{number:,} of all {manifest.count:,} images"


@torch.no_grad()
def _encoded(newest: NewestModel, records: Records) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(z, z_rel) [N, L] of the means."""
    z, z_rel = [], []
    for start in range(0, len(records.images), CHUNK):
        mu = newest.model.encode(to_tensor(records.images[start : start + CHUNK]))[0]
        z.append(mu)
        z_rel.append(newest.relate(mu))
    return torch.cat(z).double().numpy(), torch.cat(z_rel).double().numpy()
