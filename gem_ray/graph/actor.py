"""The DisGraph of a run, held by one detached actor that all jobs share.

A change is journalled and flushed before it is acknowledged, and applied at most once by its id; a restarted actor
finds everything in the run's storage. Reads answer from one immutable value and never wait for a write. The rules are
in ``disgraph``, the client is in ``store``; here the parts are only held together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time

import numpy as np
import ray

from gem_ray import telemetry
from gem_ray.config import GraphConfig
from gem_ray.errors import GraphError, StorageError
from gem_ray.graph.admission import LONGEST_TEXT, fault_of_form
from gem_ray.graph.authentication import fingerprint, read_key, same, sign_push, sign_rollback
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.history import changes_between
from gem_ray.graph.journal import Journal, open_journal
from gem_ray.graph.kept_versions import drop_before, edge_history, graph_at, newest
from gem_ray.graph.record import Record
from gem_ray.graph.snapshots import snapshot_versions, write_snapshot
from gem_ray.graph.staleness import Staleness
from gem_ray.messages.graph import EdgeChange, EdgeRecord, Push, PushReply, Refusal, StoreInfo
from gem_ray.storage import Storage

CATCH_UP_TRIES = 10
UNSIGNED = "not signed with the key of this run: connect with the run's storage (connect_store), as one who may read it"
logger = logging.getLogger(__name__)


class GraphStore:
    """The actor's class; without Ray it is an ordinary object, with one writing thread at a time.

    Every method loads the graph first where that is still to be done, so that a fault in storage reaches the caller
    as the typed error it is, and is tried again with the next call.

    Args:
        run_storage: the run's folder; the store lives in ``graph/``
        attributes: names of the nodes; a stored graph must have the same
        authenticated: take changes only with a signature under the run's key (``authentication``), as the actor of a
            run does; without it the caller is trusted
    """

    def __init__(
        self,
        run_storage: Storage,
        run_name: str,
        attributes: tuple[str, ...],
        config: GraphConfig,
        authenticated: bool = False,
    ) -> None:
        self._authenticated = authenticated
        self._key = b""  # read with the graph
        self._storage = run_storage.child("graph")
        self._run_name = run_name
        self._attributes = tuple(attributes)
        self._config = config
        self._staleness = Staleness(config.max_staleness)
        self._loading = threading.Lock()
        self._files = threading.Lock()  # held while history is read, so that nothing it needs is dropped
        self._graph: DisGraph | None = None
        self._journal: Journal
        self._applied: dict[str, int] = {}  # operation id -> version, oldest first
        self._snapshot_version = 0

    @ray.method(concurrency_group="read")
    def describe(self) -> StoreInfo:
        """Process, place, attributes, version and settings."""
        graph = self._ready()
        return StoreInfo(
            pid=os.getpid(),
            uri=self._storage.uri,
            attributes=graph.attributes,
            version=graph.version,
            settings=settings_text(self._config, self._key),
        )

    @ray.method(concurrency_group="read")
    def snapshot(self, newer_than: int | None) -> DisGraph | None:
        """The current graph; None where its version is not above ``newer_than``."""
        graph = self._ready()
        return graph if newer_than is None or graph.version > newer_than else None

    @ray.method(concurrency_group="write")
    def push(self, push: Push, signature: str = "") -> PushReply:
        """Check, journal and apply a push; ``admission`` says what is refused, besides a wrong signature.

        Raises:
            StorageError: the journal cannot be written; the push is not applied
        """
        graph = self._ready()
        fault = fault_of_form(push, graph.attributes)
        if fault:
            return self._refuse(Refusal.MALFORMED, fault)
        if self._authenticated and not same(signature, sign_push(self._key, self._run_name, push)):
            return self._refuse(Refusal.UNAUTHORISED, UNSIGNED)
        return self._change(push.push_id, push)

    @ray.method(concurrency_group="write")
    def rollback(self, operation_id: str, version: int, signature: str = "") -> PushReply:
        """A new version with everything as in an earlier one; journalled and signed like a push."""
        self._ready()
        if type(operation_id) is not str or not 1 <= len(operation_id) <= LONGEST_TEXT or type(version) is not int:
            return self._refuse(Refusal.MALFORMED, "a rollback takes an id, a str, and a version, an int")
        expected = sign_rollback(self._key, self._run_name, operation_id, version)
        if self._authenticated and not same(signature, expected):
            return self._refuse(Refusal.UNAUTHORISED, UNSIGNED)
        return self._change(operation_id, version)

    @ray.method(concurrency_group="read")
    def history(self, source: str, target: str) -> tuple[EdgeRecord, ...]:
        """The kept changes of an edge, oldest first."""
        graph = self._ready()
        i, j = graph.index(source), graph.index(target)
        with self._files:
            return edge_history(self._storage, self._journal, i, j)

    @ray.method(concurrency_group="read")
    def at(self, version: int) -> DisGraph:
        """The graph as it was in a kept version."""
        self._ready()
        return self._at(version)

    @ray.method(concurrency_group="read")
    def diff(self, before: int, after: int) -> tuple[EdgeChange, ...]:
        """Edges that differ between two kept versions."""
        self._ready()
        return changes_between(self._at(before), self._at(after))

    @ray.method(concurrency_group="write")
    def close(self) -> None:
        """Publish the current version and let go of the journal; the next call would open it again."""
        with self._loading:
            if self._graph is not None:
                if self._graph.version > self._snapshot_version:
                    self._publish(self._graph)
                self._journal.close()
                self._graph = None

    def _ready(self) -> DisGraph:
        graph = self._graph
        if graph is not None:
            return graph
        with self._loading:
            if self._graph is None:
                self._graph = self._load()
            return self._graph

    def _load(self) -> DisGraph:
        key = read_key(self._storage) if self._authenticated else b""
        journal = open_journal(self._storage)
        with contextlib.ExitStack() as undo:
            undo.callback(journal.close)  # whatever goes wrong: its lock would keep out the next try
            graph, applied, version = newest(self._storage, journal, self._run_name, self._attributes)
            journal.open(version)
            undo.pop_all()
        self._key, self._journal, self._applied, self._snapshot_version = key, journal, applied, version
        self._record(graph)
        return graph

    def _change(self, operation_id: str, change: Push | int) -> PushReply:
        """Take a push, or go back to a version.

        A loop: in remote storage the next version may be there already, written by another incarnation, or by an
        earlier try of this one whose answer was lost; then catch up and look again.
        """
        for _ in range(CATCH_UP_TRIES):
            graph = self._ready()
            if operation_id in self._applied:
                return PushReply(version=self._applied[operation_id], applied=True, duplicate=True)
            if isinstance(change, Push):
                refusal = graph.check(change, self._staleness)
                if refusal:
                    return self._refuse(*refusal)
            record = Record(
                version=graph.version + 1,
                operation_id=operation_id,
                time_s=time.time(),
                max_change=self._config.max_change,
                push=change if isinstance(change, Push) else None,
                restored=None if isinstance(change, Push) else graph.restore(self._at(change)).to_json(),
            )
            following = record.apply_to(graph)
            if self._journal.append(record):
                self._accept(record, following)
                kind = record.push.kind.value if record.push else "rollback"
                telemetry.add_count("gem_graph_pushes", 1, run=self._run_name, kind=kind)
                return PushReply(version=following.version, applied=True)
            for missed in self._journal.read(graph.version):
                graph = missed.apply_to(graph)
                self._accept(missed, graph)
        raise GraphError(f"run {self._run_name!r}: other writers took the next version {CATCH_UP_TRIES} times")

    def _refuse(self, refusal: Refusal, detail: str) -> PushReply:
        telemetry.add_count("gem_graph_refusals", 1, run=self._run_name, reason=refusal.value)
        return PushReply(version=self._ready().version, applied=False, refusal=refusal, detail=detail)

    def _accept(self, record: Record, graph: DisGraph) -> None:
        self._applied[record.operation_id] = record.version
        churn = float(np.abs(graph.strength - self._ready().strength).sum())
        telemetry.add_count("gem_graph_churn", churn, run=self._run_name)
        self._graph = graph
        self._record(graph)
        if graph.version - self._snapshot_version >= self._config.snapshot_every_pushes:
            self._publish(graph)

    def _record(self, graph: DisGraph) -> None:
        """Export what the graph is like now."""
        edges = ~np.eye(len(graph.attributes), dtype=bool)
        telemetry.set_gauge("gem_graph_version", graph.version, run=self._run_name)
        telemetry.set_gauge("gem_graph_confidence", float(graph.confidence[edges].mean()), run=self._run_name)
        known = int(np.isfinite(graph.standard_error[edges]).sum())
        telemetry.set_gauge("gem_graph_known_edges", known, run=self._run_name)

    def _publish(self, graph: DisGraph) -> None:
        """Write a snapshot and drop what is too old. A full disk costs the snapshot only: the journal has it all."""
        run = {"run": self._run_name, "graph_version": graph.version}
        try:
            write_snapshot(self._storage, graph, self._applied)
            self._journal.roll(graph.version)
        except StorageError as error:
            telemetry.add_count("gem_graph_snapshot_failures", 1, run=self._run_name)
            logger.warning("graph version %d stays without a snapshot: %s", graph.version, error, extra=run)
            return
        self._snapshot_version = graph.version
        if self._files.acquire(blocking=False):
            try:
                base = drop_before(self._storage, self._journal, graph.version - self._config.keep_versions)
                self._applied = {key: version for key, version in self._applied.items() if version > base}
            except (StorageError, FileNotFoundError) as error:
                logger.warning("old versions stay until the next snapshot is written: %s", error, extra=run)
            finally:
                self._files.release()

    def _at(self, version: int) -> DisGraph:
        with self._files:
            kept, current = snapshot_versions(self._storage), self._ready().version
            return graph_at(self._storage, self._journal, version, kept, current, self._config.keep_versions)


def settings_text(config: GraphConfig, key: bytes) -> str:
    """What a store was started with, as ``StoreInfo.settings`` shows it."""
    return f"{config!r} key {fingerprint(key)}" if key else repr(config)
