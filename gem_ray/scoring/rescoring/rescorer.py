"""The rescorer as a detached Ray actor: a thin shell around ``rescoring.Rescoring``, which has the rules.

The constructor starts everything, so that an actor which Ray restarts goes on by itself from the run's storage.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.errors import ScorerError
from gem_ray.graph.staleness import Staleness
from gem_ray.graph.store import connect_store
from gem_ray.messages.rescorer import RescorerStatus
from gem_ray.placement import coordinator_options
from gem_ray.scoring.choosing.training_signals import CheckpointSignals
from gem_ray.scoring.looking.codes import DataImages
from gem_ray.scoring.looking.samples import CheckpointSamples
from gem_ray.scoring.looking.traversals import CheckpointTraversals
from gem_ray.scoring.rescoring.loop import Rescoring
from gem_ray.scoring.rescoring.rescorer_client import NAMESPACE, STOP_S, actor_name, stop_rescorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.storage import Storage
from gem_ray.structured_log import configure
from gem_ray.telemetry import add_count, observe, set_gauge

log = logging.getLogger(__name__)
START_S = 60.0
EXPORT_EVERY_S = 2.0


class Rescorer:
    """The actor's class.

    Args:
        config_json: the whole configuration
        run, data: folders of the run and of the data set
        app: name of the Serve application that answers
        model: fingerprint of the MLLM
    """

    def __init__(self, config_json: str, run: Storage, data: Storage, app: str, model: str) -> None:
        torch.set_num_threads(1)  # training has the other cores
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        config = config_from_json(config_json)
        configure(config.run.log_format, run=config.run.name)
        images = DataImages(data, config.data.holdout)
        self._scorer = ServeScorer(app, config.scoring.deadline_s)
        self._rescoring = Rescoring(
            config.scoring,
            run,
            tuple(config.model.attributes),
            Staleness(config.graph.max_staleness),
            scorer=self._scorer,
            store=connect_store(config.run.name, run),
            images=images,
            traversals=CheckpointTraversals(run, config.scoring.traversal_steps, images),
            samples=CheckpointSamples(run, images),
            signals=CheckpointSignals(run),
            model=model,
            count=partial(add_count, run=config.run.name),
            observe=partial(observe, run=config.run.name),
        )
        self._run_name, self._budget = config.run.name, config.scoring.questions_per_minute
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._work, name="rescoring", daemon=True)
        self._thread.start()

    def status(self) -> RescorerStatus:
        """How far it is.

        Raises:
            ScorerError: the loop has ended by an error that is not ours to ride out
        """
        if not self._thread.is_alive() and self._task is not None and not self._task.cancelled():
            raise ScorerError(f"the rescorer has ended: {self._task.exception()!r}; please report this bug")
        return self._rescoring.status()

    def stop(self) -> RescorerStatus:
        """Ask nothing more; returns the last status."""
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join(timeout=STOP_S / 2)
        return self._rescoring.status()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._rescoring.run())
        exporting = self._loop.create_task(self._export())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            log.info("rescoring stopped")
        finally:
            exporting.cancel()

    async def _export(self) -> None:
        """Keep the gauges up to date, also while nothing is answered."""
        while True:
            record_status(self._rescoring.status(), self._run_name, self._budget, self._scorer.deadline_s)
            await asyncio.sleep(EXPORT_EVERY_S)


def record_status(status: RescorerStatus, run_name: str, questions_per_minute: float, deadline_s: float) -> None:
    """Export how far a rescorer is, and what it goes by."""
    set_gauge("gem_question_deadline_seconds", deadline_s, run=run_name)
    set_gauge("gem_scoring_waiting", float(status.phase == "waiting"), run=run_name)
    set_gauge("gem_questions_under_way", status.cost.under_way, run=run_name)
    set_gauge("gem_scoring_images", status.images_scored, run=run_name)
    set_gauge("gem_scoring_rounds", status.rounds, run=run_name)
    if status.budget_left is not None:
        set_gauge("gem_scoring_budget", questions_per_minute, run=run_name)
        set_gauge("gem_scoring_budget_left", status.budget_left, run=run_name)


def start_rescorer(config: GemConfig, run: Storage, data: Storage, app: str, model: str) -> None:
    """Start the run's rescorer; one that an interrupted job left behind is replaced.

    Args:
        app: name of the Serve application, from ``service.start_scorer``
        model: fingerprint of the MLLM

    Raises:
        ScorerError: the actor does not start
    """
    stop_rescorer(config.run.name)
    # A relative path means another folder in the actor's process.
    folders = [replace(folder, uri=str(folder.local_path)) if folder.is_local else folder for folder in (run, data)]
    actor_class: Any = ray.remote(Rescorer)
    actor = actor_class.options(
        name=actor_name(config.run.name),
        namespace=NAMESPACE,
        lifetime="detached",
        max_restarts=-1,
        max_concurrency=4,
        num_cpus=0,
        **coordinator_options(config.placement.coordinators, run.is_local or data.is_local),
    ).remote(config_to_json(config), *folders, app, model)
    try:
        ray.get(actor.status.remote(), timeout=START_S)
    except (GetTimeoutError, RayActorError, RayTaskError) as error:
        stop_rescorer(config.run.name)
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ScorerError(f"the rescorer of run {config.run.name!r} does not start: {lines[-1]}") from error
