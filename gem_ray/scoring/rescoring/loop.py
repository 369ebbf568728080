"""The rescorer's loop: scan, publish, then rounds of what matters most, for as long as the run lasts.

    scan:   the first images -> scores -> relations of every pair -> push, at 1, 2, 4 ... times the first block
    round:  a plan by value and budget -> random images and traversals of the newest checkpoint -> pushes of what the
            model shows;  judgements of pairs;  further data images -> the same table grows -> push

Everything it needs comes as arguments, so that it runs without Ray, Serve or a model. What it learnt is in the run's
storage: after a restart no question about an image of the stored table is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gem_ray.config import ScoringConfig
from gem_ray.errors import GemRayError
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import ScoresRef
from gem_ray.messages.rescorer import Cost, RescorerStatus
from gem_ray.scoring.asking.asker import Asker, ModelChanged
from gem_ray.scoring.asking.costs import cost_since
from gem_ray.scoring.asking.scorer import Scorer
from gem_ray.scoring.choosing.budget import QuestionBudget
from gem_ray.scoring.choosing.planning import Offers, RoundPlan, Selectors, plan_round, too_small_for_looks
from gem_ray.scoring.choosing.selection import edge_values
from gem_ray.scoring.choosing.signals import weights_of
from gem_ray.scoring.choosing.training_signals import SignalSource
from gem_ray.scoring.rescoring.gathering import Gatherer, Images, SampleSource, TraversalSource
from gem_ray.scoring.rescoring.judgements import pair_requests
from gem_ray.scoring.rescoring.publisher import Publisher, Store
from gem_ray.scoring.rescoring.scores import ScoreTable, is_from, newest_scores, write_scores
from gem_ray.storage import Storage
from gem_ray.telemetry import Record, unrecorded

log = logging.getLogger(__name__)
RETRY_EVERY_S = 2.0
IDLE_S = 0.5  # between two looks at the clock while a round is not due
SCAN_IMAGES = 128  # of one block of the first scan


class Rescoring:
    """One run's rescoring.

    Args:
        run: the run's folder
        attributes: names as in the DisGraph
        staleness: how far the graph may move on from the one a checkpoint was decoded through
        model: fingerprint of the MLLM, see ``model_files.model_fingerprint``
        signals: what training says of the edges
        count, observe: record a metric: name, amount or value, labels
        sleep, clock: wait a number of seconds; seconds, monotonic
    """

    def __init__(
        self,
        config: ScoringConfig,
        run: Storage,
        attributes: tuple[str, ...],
        staleness: Staleness,
        *,
        scorer: Scorer,
        store: Store,
        images: Images,
        traversals: TraversalSource,
        samples: SampleSource,
        signals: SignalSource,
        model: str,
        count: Record = unrecorded,
        observe: Record = unrecorded,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._run, self._attributes = config, run, attributes
        self._images, self._checkpoints, self._signals = images, traversals, signals
        self._sleep, self._clock = sleep, clock
        self._publisher = Publisher(run, store, attributes, model, config.estimator)
        self._asker = Asker(config, run, attributes, scorer, model, count, sleep, clock, observe)
        self._gatherer = Gatherer(
            config,
            attributes,
            staleness,
            asker=self._asker,
            publisher=self._publisher,
            images=images,
            traversals=traversals,
            samples=samples,
        )
        self._budget = QuestionBudget(config.questions_per_minute, clock)
        if reason := too_small_for_looks(config):
            log.warning(reason)
        self._selectors: Selectors | None = None
        self._phase = "starting"
        self._rounds = 0
        self._fault = ""
        self._seen_step: int | None = None
        self._published = Cost()
        self.table = ScoreTable.empty(attributes)

    def status(self) -> RescorerStatus:
        """How far it is; may be called from another thread."""
        asker, cost = self._asker, self._asker.cost
        return RescorerStatus(
            phase="waiting" if asker.waiting else self._phase,
            asked=cost.asked,
            missing=cost.failed,
            images_scored=len(self.table.index),
            rounds=self._rounds,
            questions_per_s=asker.questions_per_s,
            digit_mass=asker.digit_mass,
            last_error=asker.last_error if asker.waiting else self._fault or self._publisher.last_refusal,
            cost=cost,
            useful_changes=self._publisher.useful_changes,
            budget_left=self._budget.available(),
            evicted=self._gatherer.evicted,
        )

    async def run(self) -> None:
        """Scan, then go round until cancelled; a fault of storage or store is shown, and tried again.

        When another model answers (a rolling change), it begins again with what is stored of that one.
        """
        while True:
            try:
                await self._persist(self._resume)
                await self._scan()
                while True:
                    began = self._clock()
                    await self._round()
                    while self._clock() - began < self._config.round_every_s:
                        await self._sleep(min(IDLE_S, self._config.round_every_s))
            except ModelChanged as change:
                log.warning("the MLLM has changed from %s to %s: scoring anew", self._asker.model, change.model)
                self._asker.model = self._publisher.model = change.model
                self.table = ScoreTable.empty(self._attributes)

    async def _resume(self) -> None:
        graph = await self._publisher.graph()
        self._selectors = Selectors.of(self._config.policy, len(self._attributes), turn=graph.version)
        newest = int(max(graph.shown_step.max(), graph.sampled_step.max()))
        self._seen_step = newest if newest >= 0 else None
        found = await asyncio.to_thread(
            newest_scores, self._run, self._attributes, self._asker.model, self._asker.protocol
        )
        if graph.scores is not None and not is_from(graph.scores, self._asker.model, self._asker.protocol):
            self._publisher.since = graph.version
        if found is not None:
            self.table, ref = found
            log.info("going on from %d scored images in %s", len(self.table.index), ref.uri)
            await self._publish(ref)  # the store knows it if it got it before

    async def _scan(self) -> None:
        """The first images, every attribute; whatever the policy, a relation needs both sides."""
        self._phase = "scan"
        wanted = min(self._config.initial_images, self._images.count)
        milestone = SCAN_IMAGES
        every = range(len(self._attributes))
        while len(self.table.index) < wanted:
            start = len(self.table.index)
            stop = min(wanted, start + SCAN_IMAGES)
            ref = await self._persist(partial(self._score, start, stop, every))
            if stop == wanted or stop >= milestone:
                await self._persist(partial(self._publish, ref))
                milestone *= 2
        self._phase = "rounds"

    async def _round(self) -> None:
        step = await self._persist(partial(asyncio.to_thread, self._checkpoints.newest_step))
        plan = await self._persist(partial(self._plan, step))
        before = self._asker.cost
        await self._persist(partial(self._gatherer.look_at_samples, step, plan.sample_attributes, plan.num_samples))
        await self._persist(partial(self._gatherer.look_at_traversals, step, plan.traversed, plan.num_starts))
        await self._persist(partial(self._gatherer.judge, plan.judged))
        self._seen_step = step if plan.sample_attributes or plan.traversed else self._seen_step
        self._published = self._asker.cost  # looks and judgements carry their own cost
        if plan.data_attributes:
            start = self._next_image(plan.data_attributes)
            score = partial(self._score, start, start + plan.num_images, plan.data_attributes)
            await self._persist(partial(self._publish, await self._persist(score)))
        self._budget.spend(self._asker.cost.asked - before.asked)
        self._rounds += 1

    async def _plan(self, step: int | None) -> RoundPlan:
        assert self._selectors is not None
        graph = await self._publisher.graph()
        signals = await asyncio.to_thread(self._signals, graph, self._gatherer.order_gap)
        offers = Offers(
            num_images=self._images.count - int(self.table.asked.all(axis=1).sum()),
            new_checkpoint=step is not None and step != self._seen_step,
            judgement_cost=len(pair_requests(self._attributes[0], self._attributes[1], self._config.wordings)),
        )
        values = {kind: edge_values(signal, weights_of(kind)) for kind, signal in signals.items()}
        return plan_round(self._selectors, values, offers, self._config, self._budget.available())

    def _next_image(self, columns: tuple[int, ...]) -> int:
        """The first unscored image; where there is none, the first that was not asked about all of these attributes."""
        scored = len(self.table.index)  # row k of the table is image k
        if scored < self._images.count:
            return scored
        return int(np.argmin(self.table.asked[:, columns].all(axis=1)))

    async def _score(self, start: int, stop: int, columns: Sequence[int]) -> ScoresRef:
        """Score images by number and store the table; what was answered before a fault is kept."""
        stop = min(stop, self._images.count)
        done = self.table.asked[start:stop][:, list(columns)]
        if len(done) < stop - start or not done.all():
            index, images = await asyncio.to_thread(self._images.read, start, stop)
            answers = await self._asker.ask_images(images, columns)
            self.table = self.table.extended(index, answers, columns)
        return await asyncio.to_thread(write_scores, self._run, self.table, self._asker.model, self._asker.protocol)

    async def _publish(self, ref: ScoresRef) -> None:
        cost = self._asker.cost
        await self._publisher.publish_scores(self.table, ref, cost_since(self._published, cost))
        self._published = cost

    async def _persist(self, action: Callable[[], Awaitable[Any]]) -> Any:
        """Do it, again and again where storage, store or a checkpoint fail, with the fault in the status."""
        while True:
            try:
                result = await action()
                self._fault = ""
                return result
            except GemRayError as error:
                self._fault = str(error)
                log.warning("rescoring waits: %s", error)
                await self._sleep(RETRY_EVERY_S)
