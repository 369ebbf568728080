"""Carries a plan out: reads or draws the images, asks about them, and has the edges published with their evidence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import permutations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import ScoringConfig
from gem_ray.graph.staleness import Staleness, Verdict
from gem_ray.messages.questions import PairRequest, ScoreAnswer
from gem_ray.scoring.asking.asker import Asker
from gem_ray.scoring.asking.costs import cost_since
from gem_ray.scoring.asking.prompts import NUM_DIGITS
from gem_ray.scoring.choosing.planning import Pairs
from gem_ray.scoring.looking.samples import Samples
from gem_ray.scoring.looking.traversals import Traversals
from gem_ray.scoring.rescoring.judgements import judged_edge, order_gap, pair_requests
from gem_ray.scoring.rescoring.publisher import Publisher

log = logging.getLogger(__name__)


class Images(Protocol):
    """Images that may be scored, numbered from 0."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def read(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Record numbers [N] and images uint8 [N, H, W, 3]."""
        ...


class TraversalSource(Protocol):
    """Where traversals of the model come from; see ``traversals.CheckpointTraversals``."""

    def newest_step(self) -> int | None:
        """Step of the newest checkpoint, None where there is none."""
        ...

    def draw(self, images: NDArray[np.uint8], nodes: Sequence[int] | None = None) -> Traversals | None:
        """Traversals of some nodes from the codes of images uint8 [B, H, W, 3]."""
        ...


class SampleSource(Protocol):
    """Where random images of the model come from; see ``samples.CheckpointSamples``."""

    def draw(self, num_images: int, seed: int) -> Samples | None:
        """Images of random codes."""
        ...


class Gatherer:
    """Evidence about the model and about pairs; what data images say grows the score table, which is the loop's.

    Attributes:
        evicted: pieces of work given up since the graph had moved on too far
        order_gap: [n, n] of the last judgement of each pair by this process, NaN where there was none
    """

    def __init__(
        self,
        config: ScoringConfig,
        attributes: tuple[str, ...],
        staleness: Staleness,
        *,
        asker: Asker,
        publisher: Publisher,
        images: Images,
        traversals: TraversalSource,
        samples: SampleSource,
    ) -> None:
        self._config, self._attributes, self._staleness = config, attributes, staleness
        self._asker, self._publisher = asker, publisher
        self._images, self._traversals, self._samples = images, traversals, samples
        self.evicted = 0
        self.order_gap = np.full((len(attributes), len(attributes)), np.nan)

    async def look_at_samples(self, step: int, columns: Sequence[int], num_images: int) -> None:
        """Ask about random images of the newest checkpoint, others for every checkpoint."""
        if not columns:
            return
        drawn = await asyncio.to_thread(self._samples.draw, num_images, step)
        if drawn is None or not await self._fresh(drawn.graph_version):
            return
        before = self._asker.cost
        answers = await self._asker.ask_images(drawn.images, columns)
        probabilities = self._spread(answers, (len(drawn.images),), columns)
        pairs = list(permutations(columns, 2))
        await self._publisher.publish_samples(drawn, probabilities, pairs, cost_since(before, self._asker.cost))

    async def look_at_traversals(self, step: int, pairs: Pairs, num_starts: int) -> None:
        """Ask how each target follows when its source's node moves, from other start images for every checkpoint."""
        if not pairs:
            return
        last_start = max(0, self._images.count - num_starts)
        start = int(np.random.default_rng([step, 5]).integers(last_start + 1))
        stop = min(self._images.count, start + num_starts)
        index, images = await asyncio.to_thread(self._images.read, start, stop)
        sources = sorted({source for source, _ in pairs})
        drawn = await asyncio.to_thread(self._traversals.draw, images, sources)
        if drawn is None or not await self._fresh(drawn.graph_version):
            return
        before = self._asker.cost
        shape = (len(index), self._config.traversal_steps)
        probabilities = []
        for source, pictures in zip(sources, await asyncio.to_thread(list, drawn.nodes), strict=True):
            # Whether the node moves its own attribute decides whether it says anything of others.
            columns = sorted({source} | {target for other, target in pairs if other == source})
            answers = await self._asker.ask_images(pictures.reshape(-1, *pictures.shape[2:]), columns)
            probabilities.append(self._spread(answers, shape, columns))
        cost = cost_since(before, self._asker.cost)
        await self._publisher.publish_traversals(drawn, sources, index, np.stack(probabilities), pairs, cost)

    async def judge(self, pairs: Pairs) -> None:
        """Ask about pairs themselves; a pair with too few answers stays as it was."""
        if not pairs:
            return
        before = self._asker.cost
        names = [(self._attributes[source], self._attributes[target]) for source, target in pairs]
        requests = [pair_requests(source, target, self._config.wordings) for source, target in names]
        flat = await self._asker.ask_pairs([request for group in requests for request in group])
        edges, records, start = [], [], 0
        for (source, target), group in zip(names, requests, strict=True):
            answers = flat[start : start + len(group)]
            start += len(group)
            edge = judged_edge(source, target, group, answers)
            gap = order_gap(source, target, group, answers)
            if gap is not None:
                self.order_gap[self._attributes.index(source), self._attributes.index(target)] = gap
            records += [_record(request, answer) for request, answer in zip(group, answers, strict=True)]
            if edge is not None:
                edges.append(edge)
        await self._publisher.publish_judgements(edges, records, cost_since(before, self._asker.cost))

    async def _fresh(self, graph_version: int) -> bool:
        """Whether the store would still take what is found; asking for what it refuses would be waste."""
        newest = (await self._publisher.graph()).version
        if self._staleness.verdict(graph_version, newest) is Verdict.ADMITTED:
            return True
        self.evicted += 1
        log.info("a look at the model is given up: %s", self._staleness.reason(graph_version, newest))
        return False

    def _spread(
        self, answers: Sequence[ScoreAnswer], shape: tuple[int, ...], columns: Sequence[int]
    ) -> NDArray[np.float64]:
        """Digit probabilities [*shape, n, 6] of answers about some attributes; NaN where missing or not asked."""
        rows = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
        spread = np.full((*shape, len(self._attributes), NUM_DIGITS), np.nan)
        spread[..., list(columns), :] = np.array(rows).reshape(*shape, len(columns), NUM_DIGITS)
        return spread


def _record(request: PairRequest, answer: ScoreAnswer) -> dict[str, Any]:
    """A question and its answer for the evidence file."""
    return {
        "source": request.source,
        "target": request.target,
        "aspect": request.aspect.value,
        "target_first": request.target_first,
        "wording": request.wording,
        "probabilities": None if answer.probabilities is None else [round(p, 5) for p in answer.probabilities],
        "failure": answer.failure,
    }
