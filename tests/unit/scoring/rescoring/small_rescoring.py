"""A rescorer without Ray, Serve or a model: scripted answers, a store in memory, images by number."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gem_ray.config import ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, sample_attributes
from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EvidenceKind, Push, PushReply
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.scoring.choosing.selection import EdgeSignals
from gem_ray.scoring.choosing.signals import signals_of
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.looking.traversals import Traversals
from gem_ray.scoring.rescoring.loop import Rescoring
from gem_ray.storage import Storage

SEED = 11
PAIRS = [(a, b) for a in ATTRIBUTES for b in ATTRIBUTES if a != b]


class NumberedImages:
    """Images 2x2 that carry their number, so that a scripted scorer knows the true attributes."""

    def __init__(self, count: int) -> None:
        self.count = count

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        index = np.arange(start, stop)
        images = np.zeros((stop - start, 2, 2, 3), np.uint8)
        images.reshape(len(images), -1)[:, :4] = index.astype("<u4").view(np.uint8).reshape(-1, 4)
        return index, images


class MemoryStore:
    """The store's rules without its actor."""

    def __init__(self) -> None:
        self.graph = DisGraph.empty(ATTRIBUTES)
        self.pushes: list[Push] = []
        self.applied: dict[str, int] = {}
        self.fail_next = 0

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph:
        return self.graph

    def push(self, push: Push, deadline_s: float) -> PushReply:
        if self.fail_next:
            self.fail_next -= 1
            raise GraphError("the store is away")
        if push.push_id in self.applied:
            return PushReply(version=self.graph.version, applied=True, duplicate=True)
        refusal = self.graph.check(push, Staleness(50))
        if refusal:
            return PushReply(version=self.graph.version, applied=False, refusal=refusal[0], detail=refusal[1])
        self.graph = self.graph.apply(push, max_change=2.0)
        self.applied[push.push_id] = self.graph.version
        self.pushes.append(push)
        return PushReply(version=self.graph.version, applied=True)


class ScriptedTraversals:
    """Traversals whose pictures carry node and position; the scripted scorer lets node 0 move attributes 0 and 1."""

    def __init__(self, step: int | None) -> None:
        self.step = step
        self.graph_version = 0

    def newest_step(self) -> int | None:
        return self.step

    def draw(self, images: np.ndarray, nodes: Sequence[int] | None = None) -> Traversals | None:
        def node(i: int) -> np.ndarray:
            pictures = np.zeros((len(images), 5, 2, 2, 3), np.uint8)
            pictures[:, :, 0, 0, 0] = np.arange(len(images))[:, None]
            pictures[..., 1, 1, 2] = 200 + i
            pictures[..., 1, 1, 1] = np.arange(5)[None, :]
            return pictures

        assert self.step is not None
        chosen = range(len(ATTRIBUTES)) if nodes is None else nodes
        positions = np.tile(np.linspace(-2.0, 2.0, 5), (len(chosen), 1))
        return Traversals(self.step, self.graph_version, positions, (node(i) for i in chosen))


class ScriptedSamples:
    """Random images of a model whose attributes are those of the data, numbered from a million."""

    def __init__(self, traversals: ScriptedTraversals) -> None:
        self.of = traversals

    def draw(self, num_images: int, seed: int) -> Samples | None:
        assert self.of.step is not None
        _, images = NumberedImages(10**7).read(10**6 + 1_000 * seed, 10**6 + 1_000 * seed + num_images)
        return Samples(self.of.step, self.of.graph_version, images)


def graph_alone(graph: DisGraph, order_gap: np.ndarray) -> dict[EvidenceKind, EdgeSignals]:
    return {kind: signals_of(graph, kind) for kind in EvidenceKind}


def true_answer(request: ScoreRequest) -> ScoreAnswer:
    """What a perfect scorer would say."""
    attribute = ATTRIBUTES.index(request.attribute)
    if request.image[11] >= 200:
        node, position = request.image[11] - 200, request.image[10]
        moves = {0: 1.0, 1: -1.0}.get(attribute, 0.0) if node == 0 else float(node == attribute)
        return answer_of_value(0.5 + moves * (position - 2) / 4)
    number = int.from_bytes(request.image[:4], "little")
    return answer_of_value(sample_attributes(SEED, number)[attribute])


def make_rescoring(
    run: Storage,
    store: MemoryStore,
    scorer: ScriptedScorer,
    *,
    count: int = 400,
    traversals: ScriptedTraversals | None = None,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Rescoring:
    settings = {"initial_images": 200, "round_images": 50, "round_every_s": 0.0, "max_in_flight": 3} | options
    traversals = traversals or ScriptedTraversals(None)

    async def no_sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return Rescoring(
        ScoringConfig(**settings),
        run,
        ATTRIBUTES,
        Staleness(50),
        scorer=scorer,
        store=store,
        images=NumberedImages(count),
        traversals=traversals,
        samples=ScriptedSamples(traversals),
        signals=graph_alone,
        model="scripted",
        sleep=no_sleep,
        clock=clock,
    )


def run_until(rescoring: Rescoring, condition: Callable[[], bool]) -> None:
    async def drive() -> None:
        task = asyncio.create_task(rescoring.run())
        for _ in range(20_000):
            if condition() or task.done():
                break
            await asyncio.sleep(0.001)
        if task.done():
            task.result()
        task.cancel()

    asyncio.run(drive())
    assert condition()
