"""How training follows the DisGraph: rank 0 polls in the background, all ranks change together at a step boundary.

No step waits for the store, the rescorer or storage: the poller's thread does, and what it found is handed over by one
collective every ``graph.refresh_every_steps`` steps. Where data are streamed every rank reads the images of the scored
records in a thread first, and all change once all of them have theirs.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import torch
from ray.exceptions import RayError

from gem_ray.data.batch import Loader
from gem_ray.errors import GemRayError, TrainingError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.rescorer import RescorerStatus
from gem_ray.structured_log import say
from gem_ray.train.collectives import broadcast_bytes, gather_digests, gather_numbers


@dataclass(frozen=True)
class Relations:
    """A DisGraph and the standardised MLLM scores behind it.

    Args:
        graph: the version in use
        index: record numbers [M] of the scored images
        targets: float32 [M, K], mean 0 and variance 1 by attribute, NaN where an answer is missing
    """

    graph: DisGraph
    index: np.ndarray
    targets: np.ndarray

    def to_bytes(self) -> bytes:
        """For the process group; not for storage."""
        graph = np.frombuffer(self.graph.to_json().encode(), np.uint8)
        return safetensors.numpy.save({"graph": graph, "index": self.index, "targets": self.targets})

    @staticmethod
    def from_bytes(data: bytes) -> Relations:
        """The inverse of ``to_bytes``."""
        arrays = safetensors.numpy.load(data)
        graph = DisGraph.from_json(arrays["graph"].tobytes().decode())
        return Relations(graph, arrays["index"], arrays["targets"])

    def first(self, num_scored: int) -> Relations:
        """The same graph with so many scored images at most, those that were scored first."""
        return Relations(self.graph, self.index[:num_scored], self.targets[:num_scored])


def without_scores(graph: DisGraph) -> Relations:
    """A graph that no scan stands behind."""
    return Relations(graph, np.zeros(0, np.int64), np.zeros((0, len(graph.attributes)), np.float32))


def standardize(expectations: np.ndarray) -> np.ndarray:
    """Scores [M, K] to mean 0 and variance 1 by attribute; a constant or unanswered attribute becomes NaN."""
    targets = np.full(expectations.shape, np.nan, np.float32)
    for attribute in range(expectations.shape[1]):
        column = expectations[:, attribute]
        known = column[~np.isnan(column)]
        if known.size > 1 and known.std() > 1e-6:
            targets[:, attribute] = (column - known.mean()) / known.std()
    return targets


class RelationPoller:
    """Rank 0's background thread; its answers wait in attributes that the loop reads without blocking.

    Args:
        fetch: ``fetch(newer_than)`` gives newer relations or None; it may block, and may raise ``GemRayError``, or
            Ray's own error where an actor met one that is not ours
        status: asks the rescorer how far it is, None where there is no rescorer
    """

    def __init__(
        self,
        fetch: Callable[[int], Relations | None],
        status: Callable[[], RescorerStatus | None],
        version: int,
        poll_every_s: float,
    ) -> None:
        self._fetch, self._status, self._version, self._poll_every_s = fetch, status, version, poll_every_s
        self._waiting: Relations | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._last_answer = time.monotonic()
        self.rescorer: RescorerStatus | None = None
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="relation-poller", daemon=True)
        self._thread.start()

    @property
    def silence_s(self) -> float:
        """Seconds since the store last answered."""
        return time.monotonic() - self._last_answer

    def take(self) -> Relations | None:
        """The newest relations not taken yet, None where there are none."""
        with self._lock:
            waiting, self._waiting = self._waiting, None
        return waiting

    def close(self) -> None:
        """End the thread; a call under way is not waited for beyond a moment."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            # An absent store or scorer is a state to show (silence_s), not a reason to stop training; and a rescorer
            # that has ended must not keep the store's news away.
            for look in (self._look_at_store, self._look_at_rescorer):
                try:
                    look()
                except (GemRayError, RayError) as error:
                    self.last_error = str(error)
            self._stop.wait(self._poll_every_s)

    def _look_at_store(self) -> None:
        newer = self._fetch(self._version)
        self._last_answer = time.monotonic()
        if newer is not None:
            with self._lock:
                self._waiting, self._version = newer, newer.graph.version

    def _look_at_rescorer(self) -> None:
        self.rescorer = self._status() or self.rescorer


class RelationFeed:
    """The relations every rank uses at a step. ``refresh`` is a collective: all ranks call it at the same steps.

    Of more scored images than the loader can hold, those that were scored first are used.

    Args:
        loader: holds the images of scored records before a step aligns with them; None where no step does
    """

    def __init__(
        self,
        start: Relations,
        device: torch.device,
        every_steps: int,
        poller: RelationPoller | None = None,
        loader: Loader | None = None,
    ) -> None:
        self._device, self._every_steps, self._poller, self._loader = device, every_steps, poller, loader
        self._coming: tuple[Relations, Future[None] | None] | None = None
        self._left_out = 0
        relations, images = self._held(start)
        if images:
            images.result()
        self._adopt(relations)

    @property
    def age_s(self) -> float:
        """Seconds since the present version was adopted."""
        return time.monotonic() - self._adopted_at

    def refresh(self, step: int) -> str | None:
        """Change to newer relations if rank 0 has them and all ranks their images; the event to log, None without a
        change.

        Raises:
            DataError, StorageError: this rank cannot read the images of the scored records
            TrainingError: ranks disagree on the graph after the exchange
        """
        if step % self._every_steps:
            return None
        if self._coming is None:
            newer = broadcast_bytes(self._offer(), self._device)
            if newer is None:
                return None
            self._coming = self._held(Relations.from_bytes(newer))
        relations, images = self._coming
        if not all(gather_numbers(images is None or images.done(), self._device)):
            return None
        if images:
            images.result()
        self._coming = None
        self._adopt(relations)
        digests = gather_digests(self.relations.graph.digest(), self._device)
        if len(set(digests)) != 1:
            raise TrainingError(f"ranks use different graphs at step {step}: {digests}; please report this bug")
        graph = self.relations.graph
        return json.dumps({"event": "graph", "step": step, "version": graph.version, "digests": digests})

    def _offer(self) -> bytes | None:
        newer = self._poller.take() if self._poller else None
        return newer.to_bytes() if newer else None

    def _held(self, relations: Relations) -> tuple[Relations, Future[None] | None]:
        """The relations as far as their images can be held, and what to wait for until they are."""
        if self._loader is None:
            return relations, None
        most, num_scored = self._loader.max_held, len(relations.index)
        left_out, self._left_out = self._left_out, max(0, num_scored - most)
        if self._poller and self._left_out and not left_out:
            say(
                f"WARNING: alignment uses the {most:,} images that were scored first of {num_scored:,}: a worker that "
                "streams holds no more; with data.ingest=memory it uses all"
            )
        usable = relations.first(most)
        return usable, self._loader.hold(usable.index)

    def _adopt(self, relations: Relations) -> None:
        self.relations = relations
        self._adopted_at = time.monotonic()
        self.strength = torch.tensor(relations.graph.strength, dtype=torch.float32, device=self._device)
        self.confidence = torch.tensor(relations.graph.confidence, dtype=torch.float32, device=self._device)
        self.targets = torch.from_numpy(relations.targets.copy()).to(self._device)

    def scored_rows(self, seed: int, step: int, num_rows: int, lane: int, num_lanes: int) -> np.ndarray | None:
        """A lane's rows of the score table at a step: a pure function of (seed, step) over all lanes."""
        num_scored = len(self.relations.index)
        if num_scored == 0:
            return None
        generator = np.random.default_rng([seed, step, 3])
        rows = generator.integers(0, num_scored, num_rows)
        return rows[lane * num_rows // num_lanes : (lane + 1) * num_rows // num_lanes]
