"""The rescorer's loop: scan, publish, then rounds of new images and of traversals, for as long as the run lasts.

    scan:   the first images -> scores -> Somers' D of every pair -> push, at 1, 2, 4 ... times round_images
    round:  further images -> the same table grows -> push;  newest checkpoint -> traversals -> push of what is shown

Everything it needs comes as arguments, so that it runs without Ray, Serve or a model. What it learnt is in the run's
storage: after a restart no question about an image of the stored table is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gem_ray.config import ScoringConfig
from gem_ray.errors import GemRayError
from gem_ray.messages import RescorerStatus, ScoresRef
from gem_ray.scoring.engine import Scorer
from gem_ray.scoring.prompts import NUM_DIGITS
from gem_ray.scoring.publisher import Publisher, Store
from gem_ray.scoring.questions import Questioner
from gem_ray.scoring.scores import ScoreTable, newest_scores, write_scores
from gem_ray.scoring.traversals import Traversals
from gem_ray.storage import Storage

log = logging.getLogger(__name__)
RETRY_EVERY_S = 2.0
IDLE_S = 0.5  # between two looks at the clock while a round is not due


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

    def draw(self, images: NDArray[np.uint8]) -> Traversals | None:
        """Traversals from the codes of images uint8 [B, H, W, 3]."""
        ...


class Rescoring:
    """One run's rescoring.

    Args:
        run: the run's folder
        attributes: names as in the DisGraph
        model: fingerprint of the MLLM, see ``model_files.model_fingerprint``
        count: records a metric: name, amount, labels
        sleep, clock: wait a number of seconds; seconds, monotonic
    """

    def __init__(
        self,
        config: ScoringConfig,
        run: Storage,
        attributes: tuple[str, ...],
        *,
        scorer: Scorer,
        store: Store,
        images: Images,
        traversals: TraversalSource,
        model: str,
        count: Callable[..., None] = lambda name, amount, **labels: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._run, self._attributes, self._model = config, run, attributes, model
        self._images, self._traversals = images, traversals
        self._count, self._sleep, self._clock = count, sleep, clock
        self._publisher = Publisher(run, store, attributes, model, count)
        self._questioner = Questioner(
            scorer,
            batch_questions=config.batch_questions,
            max_in_flight=config.max_in_flight,
            sleep=sleep,
            clock=clock,
        )
        self._counted = (0, 0)
        self._phase = "starting"
        self._rounds = 0
        self._fault = ""
        self._traversed_step: int | None = None
        self.table = ScoreTable.empty(attributes)

    def status(self) -> RescorerStatus:
        """How far it is; may be called from another thread."""
        asker = self._questioner
        return RescorerStatus(
            phase="waiting" if asker.waiting else self._phase,
            asked=asker.asked,
            missing=asker.missing,
            images_scored=len(self.table.index),
            rounds=self._rounds,
            questions_per_s=asker.questions_per_s,
            digit_mass=asker.digit_mass,
            last_error=asker.last_error if asker.waiting else self._fault or self._publisher.last_refusal,
        )

    async def run(self) -> None:
        """Scan, then go round until cancelled; a fault of storage or store is shown, and tried again."""
        await self._persist(self._resume)
        self._phase = "scan"
        wanted = min(self._config.initial_images, self._images.count)
        milestone = self._config.round_images
        while len(self.table.index) < wanted:
            stop = min(wanted, len(self.table.index) + self._config.round_images)
            ref = await self._persist(partial(self._score_up_to, stop))
            if stop == wanted or stop >= milestone:
                await self._persist(partial(self._publisher.publish_scores, self.table, ref))
                milestone *= 2
        self._phase = "rounds"
        while True:
            began = self._clock()
            await self._persist(self._score_more_images)
            await self._persist(self._score_traversals)
            self._rounds += 1
            while self._clock() - began < self._config.round_every_s:
                await self._sleep(min(IDLE_S, self._config.round_every_s))

    async def _resume(self) -> None:
        self._traversed_step = await self._publisher.last_traversed_step()
        found = await asyncio.to_thread(newest_scores, self._run, self._attributes, self._model)
        if found is not None:
            self.table, ref = found
            log.info("going on from %d scored images in %s", len(self.table.index), ref.uri)
            await self._publisher.publish_scores(self.table, ref)  # the store knows it if it got it before

    async def _score_more_images(self) -> None:
        stop = min(self._images.count, len(self.table.index) + self._config.round_images)
        if stop > len(self.table.index):
            ref = await self._score_up_to(stop)
            await self._publisher.publish_scores(self.table, ref)

    async def _score_up_to(self, stop: int) -> ScoresRef:
        """Score the images up to number ``stop`` and store the table; what was answered before a fault is kept."""
        start = len(self.table.index)
        if start < stop:
            index, images = await asyncio.to_thread(self._images.read, start, stop)
            answers = await self._questioner.ask(images, self._attributes)
            self._count_questions()
            self.table = self.table.extended(index, answers)
        return await asyncio.to_thread(write_scores, self._run, self.table, self._model)

    async def _score_traversals(self) -> None:
        """Ask about what the newest checkpoint shows, once a checkpoint."""
        step = await asyncio.to_thread(self._traversals.newest_step)
        if step is None or step == self._traversed_step or self._config.traversal_images == 0:
            return
        # Other start images for every checkpoint, the same ones after a restart.
        last_start = max(0, self._images.count - self._config.traversal_images)
        start = int(np.random.default_rng([step, 5]).integers(last_start + 1))
        stop = min(self._images.count, start + self._config.traversal_images)
        index, images = await asyncio.to_thread(self._images.read, start, stop)
        drawn = await asyncio.to_thread(self._traversals.draw, images)
        if drawn is None:
            return
        probabilities = [await self._ask_traversal(node) for node in await asyncio.to_thread(list, drawn.nodes)]
        await self._publisher.publish_traversals(drawn, index, np.stack(probabilities))
        self._traversed_step = step

    async def _ask_traversal(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Digit probabilities [B, T, n, 6] of the pictures [B, T, H, W, 3] of one node; NaN where missing."""
        answers = await self._questioner.ask(pictures.reshape(-1, *pictures.shape[2:]), self._attributes)
        self._count_questions()
        rows = [answer.probabilities or (np.nan,) * NUM_DIGITS for answer in answers]
        return np.array(rows).reshape(*pictures.shape[:2], len(self._attributes), NUM_DIGITS)

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

    def _count_questions(self) -> None:
        asker = self._questioner
        self._count("gem_questions_asked", asker.asked - self._counted[0])
        self._count("gem_questions_missing", asker.missing - self._counted[1])
        self._counted = (asker.asked, asker.missing)
