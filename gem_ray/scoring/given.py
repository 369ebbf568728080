"""Scores that are given rather than asked for: the data's own labels, or the stored scores of another run.

Labels stand in for an MLLM that is never wrong: the supervised upper bound. Stored scores let many runs share one scan,
so that they differ in nothing else. Either way no MLLM is started and the DisGraph is pushed once.
"""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json
from gem_ray.data.manifest import read_manifest
from gem_ray.data.shards import read_records
from gem_ray.errors import ConfigError, DataError
from gem_ray.graph.store import StoreClient
from gem_ray.messages.rescorer import Cost
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.rescoring.publisher import Publisher
from gem_ray.scoring.rescoring.scores import ScoreTable, fullest_scores, write_scores
from gem_ray.storage import Storage

LABELS = "labels"


def publish_given_scores(config: GemConfig, run: Storage, data: Storage, store: StoreClient) -> None:
    """Push the relations of the given scores, unless the run's store knows them already.

    Raises:
        ConfigError, DataError: see ``label_scores`` and ``stored_scores``
    """
    graph = store.snapshot(newer_than=None, deadline_s=30.0)
    if graph is not None and graph.scores is not None:
        return
    table, model = label_scores(config, data) if config.scoring.scorer == LABELS else stored_scores(config, data)
    ref = write_scores(run, table, model)
    publisher = Publisher(run, store, table.attributes, model, config.scoring.estimator)
    asyncio.run(publisher.publish_scores(table, ref, Cost()))


def label_scores(config: GemConfig, data: Storage) -> tuple[ScoreTable, str]:
    """The labels of the first ``scoring.initial_images`` training images as digits, and what stands for a model.

    Raises:
        ConfigError: a node that the data have no label for
        DataError: the data cannot be read
    """
    manifest = read_manifest(data)
    known, wanted = manifest.attributes or (), config.model.attributes
    missing = [name for name in wanted if name not in known]
    if missing:
        raise ConfigError(
            f"scoring.scorer={LABELS} needs labels of every node, and {config.data.uri} has none of "
            f"{', '.join(missing)}; it has {', '.join(known) or 'none at all'}: change model.attributes or the scorer"
        )
    records = read_records(
        data, manifest, 0, min(config.scoring.initial_images, manifest.num_train(config.data.holdout))
    )
    assert records.attributes is not None
    values = records.attributes[:, [known.index(name) for name in wanted]].astype(np.float64)
    digits = digits_of_labels(values)
    answered = ~np.isnan(values)
    probabilities = np.where(answered[..., None], np.eye(NUM_DIGITS)[digits], np.nan)
    return ScoreTable(tuple(wanted), records.index, probabilities, np.ones(values.shape)), LABELS


def digits_of_labels(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Labels [N, n] as digits 0 to 5, from each attribute's least value to its greatest; 0 where unknown."""
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    span = np.where(high > low, high - low, 1.0)
    return np.rint(np.nan_to_num((values - low) / span) * (NUM_DIGITS - 1)).astype(np.int64)


def stored_scores(config: GemConfig, data: Storage) -> tuple[ScoreTable, str]:
    """The fullest table of scores of the run ``scoring.scores_from``, and the model that gave them.

    Raises:
        ConfigError: no such run, a run on other data, or scores of other attributes
        DataError: scores of images that this run holds out
    """
    other = Storage(config.scoring.scores_from, config.storage)
    try:
        theirs = config_from_json(other.read_bytes("config.json"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"scoring.scores_from={config.scoring.scores_from} is no folder of a run (it has no config.json); "
            "name one whose MLLM has scored these data"
        ) from error
    if Storage(theirs.data.uri, config.storage).uri != data.uri:
        raise ConfigError(
            f"the scores of {other.uri} are of the images in {theirs.data.uri}, this run has data.uri={config.data.uri}"
        )
    found = fullest_scores(other, config.model.attributes)
    if found is None:
        raise ConfigError(
            f"the run {other.uri} has no scores of {', '.join(config.model.attributes)}; let it finish its first scan, "
            "or name another one in scoring.scores_from"
        )
    table, model = found
    last = read_manifest(data).num_train(config.data.holdout)
    if (table.index >= last).any():
        raise DataError(
            f"{other.uri} has scores of image {table.index.max()}, which this run holds out (from {last} on); "
            f"set data.holdout={theirs.data.holdout} as there"
        )
    return table, model
