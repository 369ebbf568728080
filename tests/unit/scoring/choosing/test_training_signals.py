"""What a checkpoint adds to the signals: influence, learned weights, and how far they have moved since a look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.scoring.choosing.training_signals import CheckpointSignals
from gem_ray.storage import Storage

ATTRIBUTES = ("a", "b", "c")
NO_GAP = np.full((3, 3), np.nan)


def publish(run: Storage, step: int, offset: float) -> None:
    edge_offset = torch.zeros(3, 3)
    edge_offset[0, 1] = offset
    save_checkpoint(
        run,
        Checkpoint(
            step=step,
            model={"gem.edge_offset": edge_offset},
            optimizer={},
            graph_json=DisGraph.empty(ATTRIBUTES).to_json(),
            state={"edge_influence": [[0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]},
        ),
        keep=3,
    )


def looked_at(step: int) -> DisGraph:
    """A graph whose edge a -> b was looked at in the checkpoint of a step."""
    edge = EdgeUpdate(source="a", target="b", strength=0.3, standard_error=0.1, num_observations=8)
    push = Push(
        push_id="p", base_version=0, kind=EvidenceKind.TRAVERSALS, edges=(edge,), evidence_id="t.json", step=step
    )
    return DisGraph.empty(ATTRIBUTES).apply(push, max_change=1.0)


@pytest.fixture
def run(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def test_without_a_checkpoint_the_graph_alone_speaks(run: Storage) -> None:
    signals = CheckpointSignals(run)(DisGraph.empty(ATTRIBUTES), NO_GAP)
    assert set(signals) == set(EvidenceKind)
    assert np.isnan(signals[EvidenceKind.SCORES].influence).all()
    assert np.isinf(signals[EvidenceKind.SCORES].standard_error).all()


def test_a_checkpoint_brings_influence_and_what_was_learned_beside_the_prior(run: Storage) -> None:
    publish(run, 10, offset=0.4)
    scores = CheckpointSignals(run)(DisGraph.empty(ATTRIBUTES), NO_GAP)[EvidenceKind.SCORES]
    assert scores.influence[0, 1] == 2.0
    assert scores.disagreement[0, 1] == pytest.approx(0.4)
    assert scores.disagreement[1, 0] == 0.0


def test_a_look_disagrees_by_how_far_the_learned_weight_has_moved_since(run: Storage) -> None:
    source = CheckpointSignals(run)
    publish(run, 10, offset=0.1)
    source(DisGraph.empty(ATTRIBUTES), NO_GAP)
    publish(run, 20, offset=0.45)
    shown = source(looked_at(10), NO_GAP)[EvidenceKind.TRAVERSALS]
    assert shown.disagreement[0, 1] == pytest.approx(0.35)
    assert shown.age[0, 1] == 10
    assert np.isnan(shown.disagreement[1, 0])  # nobody has looked there


def test_the_order_gap_is_a_signal_of_judgements_only(run: Storage) -> None:
    gap = np.where(np.eye(3, dtype=bool), np.nan, 0.2)
    signals = CheckpointSignals(run)(DisGraph.empty(ATTRIBUTES), gap)
    assert signals[EvidenceKind.JUDGEMENTS].order_gap[0, 1] == 0.2
    assert np.isnan(signals[EvidenceKind.SCORES].order_gap).all()


def test_a_checkpoint_of_another_model_is_named(run: Storage) -> None:
    publish(run, 10, offset=0.0)
    with pytest.raises(DataError, match="edge offset for a graph of 2 attributes"):
        CheckpointSignals(run)(DisGraph.empty(("a", "b")), np.full((2, 2), np.nan))
