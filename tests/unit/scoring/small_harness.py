"""The rescorer's parts around a scorer that obeys, with the store's real rules, and what a change may not do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gem_ray.config import GraphConfig, ScoringConfig, StorageConfig
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply
from gem_ray.messages.questions import Request, ScoreAnswer
from gem_ray.scoring.asking.asker import Asker
from gem_ray.scoring.asking.scripted import (
    OBEDIENCE_SIGN,
    ScriptedScorer,
    obedient_answer,
)
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.rescoring.gathering import Gatherer
from gem_ray.scoring.rescoring.publisher import Publisher
from gem_ray.storage import Storage

CORPUS: dict[str, list[str]] = json.loads((Path(__file__).parent / "hostile_corpus.json").read_text())
FORBIDDEN = CORPUS["special_tokens"] + CORPUS["refused_names"]
HONEST = ("male", "beard", "bald")
CAP = 0.25
SEED = 41
Pair = tuple[int, int]


class ActorStore:
    """The store actor's class as an ordinary object, behind the publisher's protocol."""

    def __init__(self, run: Storage, attributes: tuple[str, ...], cap: float = CAP) -> None:
        self._arguments = run, "run", attributes, GraphConfig(max_change=cap)
        self._store = GraphStore(*self._arguments)

    @property
    def graph(self) -> DisGraph:
        graph = self._store.snapshot(None)
        assert graph is not None
        return graph

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph | None:
        return self._store.snapshot(newer_than)

    def push(self, push: Push, deadline_s: float) -> PushReply:
        return self._store.push(push)

    def reloaded(self) -> DisGraph:
        """What another incarnation reads from storage."""
        self._store.close()
        self._store = GraphStore(*self._arguments)
        return self.graph


def scored(attributes: Sequence[str], strength: float = 0.4) -> Push:
    """Honest evidence about every edge, so that there is something to spoil."""
    edges = tuple(
        EdgeUpdate(source=source, target=target, strength=strength, standard_error=0.05, num_observations=500)
        for source in attributes
        for target in attributes
        if source != target
    )
    return Push(push_id="honest", base_version=0, kind=EvidenceKind.SCORES, edges=edges, evidence_id="honest.json")


def faults(before: DisGraph, after: DisGraph, asked: set[Pair], cap: float = CAP) -> list[str]:
    """What is wrong with a change of the graph when only some pairs were asked about."""
    found = []
    if not (np.abs(after.strength) <= 1).all() or np.diag(after.strength).any():
        found.append("a strength is not in [-1, 1], or an attribute acts on itself")
    if after.attributes != before.attributes:
        found.append("other attributes")
    moved = np.abs(after.strength - before.strength)
    if moved.max() > cap * (1 + 1e-12):
        found.append(f"a strength moved by {moved.max():.3f}, more than {cap}")
    changed = {tuple(map(int, pair)) for pair in np.argwhere(moved > 0)}
    for kind in EvidenceKind:
        old, new = before.layers[kind], after.layers[kind]
        differ = (old.version != new.version) | ~np.isclose(old.value, new.value, equal_nan=True)
        changed |= {tuple(map(int, pair)) for pair in np.argwhere(differ)}
        if not np.isfinite(new.value[~np.isnan(new.value)]).all():
            found.append(f"{kind.value}: a value is not finite")
    if not changed <= asked:
        found.append(f"edges changed that nobody asked about: {sorted(changed - asked)}")
    return found


@dataclass
class Harness:
    """The rescorer's parts around an obedient scorer, one question at a time."""

    store: ActorStore
    gatherer: Gatherer
    asker: Asker
    publisher: Publisher


class OrderingImages:
    """Images 4x4 of random pixels with an order in each; number and order both differ."""

    count = len(CORPUS["image_orders"])

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        return np.arange(start, stop), np.stack(
            [image_saying(n, CORPUS["image_orders"][n]) for n in range(start, stop)]
        )


def image_saying(number: int, order: str) -> np.ndarray:
    """uint8 [4, 4, 3] whose bytes hold an order, and a number before it."""
    pixels = bytes([number]) + OBEDIENCE_SIGN + order.encode()[:12].ljust(12, b"\0")
    return np.frombuffer(pixels.ljust(48, b"\0"), np.uint8).reshape(4, 4, 3)


class OrderingSamples:
    """What a model might decode when it has learnt to order."""

    def __init__(self, version: int) -> None:
        self.version = version

    def draw(self, num_images: int, seed: int) -> Samples | None:
        return Samples(7, self.version, OrderingImages().read(0, OrderingImages.count)[1])


def harness(
    folder: Path,
    attributes: tuple[str, ...],
    answer: Callable[[Request], ScoreAnswer] = obedient_answer,
    cap: float = CAP,
) -> Harness:
    run = Storage(str(folder), StorageConfig())
    store = ActorStore(run, attributes, cap)
    assert store.push(scored(attributes), 1.0).applied
    while (store.graph.strength[0, 1]) < 0.4:  # the cap holds for honest evidence too
        push = replace(scored(attributes), push_id=f"again-{store.graph.version}", base_version=store.graph.version)
        assert store.push(push, 1.0).applied
    config = ScoringConfig()

    def count(name: str, amount: float, **labels: str) -> None:
        assert amount >= 0

    async def no_sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    publisher = Publisher(run, store, attributes, "scripted", "expected_table")
    asker = Asker(config, run, attributes, ScriptedScorer(answer), "scripted", count, no_sleep)
    gatherer = Gatherer(
        config,
        attributes,
        Staleness(50),
        asker=asker,
        publisher=publisher,
        images=OrderingImages(),
        traversals=None,  # type: ignore[arg-type]
        samples=OrderingSamples(store.graph.version),
    )
    return Harness(store, gatherer, asker, publisher)


def edge(**changes: Any) -> EdgeUpdate:
    usual = {"source": "male", "target": "beard", "strength": -1.0, "standard_error": 0.01, "num_observations": 10}
    return EdgeUpdate(**(usual | changes))
