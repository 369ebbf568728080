"""From a run's folder to everything a report shows: the newest checkpoint on images it has never seen.

Shape suffixes: B held-out images, C channels, H height, W width, L latents, K nodes, J attributes, M scored images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gem_ray.checkpoint import Checkpoint, load_checkpoint
from gem_ray.config import GemConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.data.loader import holdout_records
from gem_ray.data.manifest import Manifest, read_manifest
from gem_ray.data.shards import Records, read_records, read_shard
from gem_ray.errors import DataError
from gem_ray.evaluation.health import SENSITIVITY_CODES, code_sensitivity
from gem_ray.evaluation.history import History, read_history
from gem_ray.evaluation.reconstruction import (
    BATCH,
    Codes,
    ImageQuality,
    Readings,
    decode_all,
    encode_all,
    image_quality,
    read_attributes,
)
from gem_ray.evaluation.spending import Look, Spending, read_looks, read_spending
from gem_ray.evaluation.traversals import Changes, Traversals, node_changes, traverse_nodes
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_values
from gem_ray.losses.gem import kl_per_dimension
from gem_ray.models.gem import Gem
from gem_ray.scoring.looking.codes import load_gem
from gem_ray.scoring.rescoring.scores import ScoreTable, read_scores
from gem_ray.storage import Storage

START_IMAGES = 3
SAMPLES = 24
MOST_SCORED = 2_000
TRUTH_RECORDS = 4_000  # Somers' D of so many images has a standard error of about .02


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured. None: nothing known (no truth in the data, no MLLM scores).

    Args:
        truth: [K, K] true Somers' D by the names of the nodes, NaN for nodes the data have no attribute for
        of_truth, of_scores: what nodes tell of the true attributes, and of the digits that the MLLM gave
    """

    config: GemConfig
    checkpoint: Checkpoint
    graph: DisGraph
    manifest: Manifest
    history: History
    num_parameters: int
    originals: Tensor  # [B, 3, H, W]
    reconstructions: Tensor  # [B, 3, H, W]
    codes: Codes
    quality: ImageQuality
    kl: NDArray[np.float64]  # [L]
    sensitivity: NDArray[np.float64]  # [L]
    refined: NDArray[np.float64]  # [K, K]
    traversals: Traversals
    changes: Changes
    samples: Tensor  # [N, 3, H, W]
    truth: NDArray[np.float64] | None
    of_truth: Readings | None
    scores: ScoreTable | None
    spending: Spending
    looks: tuple[Look, ...]  # relation fidelity after every look at the model's own images
    of_scores: Readings | None


def evaluate(run: Storage, data: Storage, config: GemConfig) -> Evaluation:
    """Measure the newest whole checkpoint of a run on the held-out images.

    Raises:
        DataError: no checkpoint, images of another size than it was trained on, or anything damaged
    """
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise DataError(f"{run.uri} has no complete checkpoint to report on; run python -m jobs.train first")
    manifest = read_manifest(data)
    held_out = holdout_records(data, manifest, config.data)
    model = load_gem(checkpoint)
    if manifest.shape[0] != model.image_size:
        raise DataError(
            f"{data.uri} holds images of side {manifest.shape[0]}, {run.uri} was trained on {model.image_size}; "
            "set data.uri to the data of the run"
        )
    graph = DisGraph.from_json(checkpoint.graph_json)
    strength = torch.tensor(graph.strength, dtype=torch.float32)

    originals = to_tensor(held_out.images)
    codes = encode_all(model, originals, strength)
    reconstructions = decode_all(model, codes.z_rel)
    scores = None if graph.scores is None else read_scores(run, graph.scores)
    noise = torch.randn(SAMPLES, model.latent_dim, generator=torch.Generator().manual_seed(config.train.seed))
    with torch.no_grad():
        refined = model.refined_adjacency(strength).double().numpy()
        samples = decode_all(model, model.relate(noise, strength))
    return Evaluation(
        config=config,
        checkpoint=checkpoint,
        graph=graph,
        manifest=manifest,
        history=read_history(run),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        originals=originals,
        reconstructions=reconstructions,
        codes=codes,
        quality=image_quality(originals, reconstructions),
        kl=kl_per_dimension(codes.mu, codes.logvar).double().numpy(),
        sensitivity=code_sensitivity(model, codes),
        refined=refined,
        traversals=traverse_nodes(model, strength, codes.mu[:START_IMAGES], codes.mu),
        changes=node_changes(model, strength, codes.mu, SENSITIVITY_CODES),
        samples=samples,
        truth=true_relations(data, manifest, graph.attributes),
        of_truth=readings_of_truth(model, codes, held_out, manifest, graph.attributes),
        scores=scores,
        spending=read_spending(run, graph.attributes),
        looks=read_looks(run),
        of_scores=None if scores is None else readings_of_scores(model, data, manifest, scores),
    )


def to_tensor(images_u8: NDArray[np.uint8]) -> Tensor:
    """uint8 [B, H, W, 3] to float [B, 3, H, W] in [0, 1]."""
    return torch.from_numpy(images_u8).permute(0, 3, 1, 2).float().div(255.0)


def true_relations(data: Storage, manifest: Manifest, names: tuple[str, ...]) -> NDArray[np.float64] | None:
    """True Somers' D [K, K] between the attributes the nodes are named after; None where the data hold none of them."""
    if manifest.source in DRAWN:
        drawn = DRAWN[manifest.source]
        return _by_name(drawn.true_strength(), drawn.factors, names)
    known = manifest.attributes or ()
    if manifest.relations is not None:
        return _by_name(np.array(manifest.relations), known, names)
    if len(set(names) & set(known)) < 2:
        return None
    records = read_records(data, manifest, 0, min(TRUTH_RECORDS, manifest.count))
    assert records.attributes is not None
    return _by_name(relations_from_values(records.attributes).strength, known, names)


def _by_name(strength: NDArray[np.float64], known: Sequence[str], names: Sequence[str]) -> NDArray[np.float64] | None:
    """Rows and columns put in the order of ``names``; NaN for names that are not known, None where fewer than 2 are."""
    rows = [known.index(name) if name in known else -1 for name in names]
    found = np.array(rows) >= 0
    if found.sum() < 2:
        return None
    return np.where(np.outer(found, found), strength[np.ix_(rows, rows)], np.nan)


def node_values(model: Gem, mu_BL: Tensor) -> NDArray[np.float64]:
    """[B, K]: the first dimension of each node, which alignment and traversals act on."""
    return model.node_codes(mu_BL)[..., 0].double().numpy()


def readings_of_truth(
    model: Gem, codes: Codes, held_out: Records, manifest: Manifest, names: tuple[str, ...]
) -> Readings | None:
    """What nodes tell of the true attributes they are named after; NaN columns where one is not known."""
    known = manifest.attributes or ()
    if held_out.attributes is None or not set(names) & set(known):
        return None
    unknown = np.full(len(held_out.attributes), np.nan)
    values = np.stack([held_out.attributes[:, known.index(n)] if n in known else unknown for n in names], axis=1)
    return read_attributes(node_values(model, codes.mu), values)


@torch.no_grad()
def readings_of_scores(model: Gem, data: Storage, manifest: Manifest, scores: ScoreTable) -> Readings:
    """What nodes tell of the MLLM's digits, on the scored images (which training has seen).

    Digits rather than their expectations: among images without an attribute the expectation is noise, with an order.
    """
    chosen = np.sort(np.argsort(scores.index, kind="stable")[:MOST_SCORED])
    images = read_rows(data, manifest, scores.index[chosen])
    mu = torch.cat([model.encode(batch)[0] for batch in to_tensor(images).split(BATCH)])
    return read_attributes(node_values(model, mu), np.rint(scores.expectations[chosen]))


def read_rows(data: Storage, manifest: Manifest, index: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images [N, H, W, 3] of some records in any order; each shard they lie in is read once."""
    starts = manifest.starts
    shards = np.searchsorted(starts, index, side="right") - 1
    images = np.empty((len(index), *manifest.shape), np.uint8)
    for shard in np.unique(shards):
        mine = shards == shard
        images[mine] = read_shard(data, manifest, manifest.shards[shard]).images[index[mine] - starts[shard]]
    return images
