"""How jobs start the DisGraph's actor, find it and talk to it.

Every call has a deadline and goes on over restarts of the actor: reads change nothing, and a change carries an id by
which the store knows a second try, so that trying again is always safe. Nothing here is for the training step: rank 0
polls from a thread of its own.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import replace
from functools import cached_property
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from gem_ray.config import GraphConfig
from gem_ray.errors import GemRayError, GraphError
from gem_ray.graph.actor import GraphStore, settings_text
from gem_ray.graph.authentication import ensure_key, read_key, sign_push, sign_rollback
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeChange, EdgeRecord, Push, PushReply, StoreInfo
from gem_ray.placement import coordinator_options
from gem_ray.storage import Storage

NAMESPACE = "gem_ray"
ATTEMPT_S = 15.0  # longer than the retries inside storage, so that their error arrives, not only a lost call
RETRY_EVERY_S = 0.05
START_S = 60.0
logger = logging.getLogger(__name__)


def start_store(
    run_storage: Storage, run_name: str, attributes: tuple[str, ...], config: GraphConfig, role: str = ""
) -> StoreClient:
    """Start the store of a run, or attach to the one that an interrupted job of this run has left behind.

    A store left behind with other settings is stopped and started again: everything it knows is in storage. That two
    jobs of one name do not run at once is the run's lock's to see to, before this.

    Args:
        role: of the nodes it must run on, empty for any

    Raises:
        GraphError: the stored graph has other attributes or is damaged, or a run of this name lives elsewhere
        StorageError: the run's storage cannot be reached
    """
    if run_storage.is_local:  # a relative path means another folder in the actor's process
        run_storage = replace(run_storage, uri=str(run_storage.local_path))
    arguments = (run_storage, run_name, tuple(attributes), config, role)
    key = ensure_key(run_storage.child("graph"))
    client = StoreClient(run_name, run_storage)
    info = _launch_and_describe(client, *arguments)
    if info.uri != run_storage.child("graph").uri:
        raise GraphError(
            f"a run named {run_name!r} keeps its graph in {info.uri}; this one would keep it in {run_storage.uri}: "
            "choose another run.name, or end the other run"
        )
    if info.attributes != tuple(attributes):
        raise GraphError(
            f"the store of run {run_name!r} is up with the attributes {', '.join(info.attributes)}, not "
            f"{', '.join(attributes)}: choose another run.name, or set model.attributes as they are"
        )
    if info.settings != settings_text(config, key):
        client.stop()
        _launch_and_describe(client, *arguments)
    return client


def connect_store(run_name: str, run_storage: Storage | None = None) -> StoreClient:
    """The client of a store that runs already.

    Args:
        run_storage: the run's folder, for one that is to change the graph; None for one that only reads

    Raises:
        GraphError: there is none
    """
    client = StoreClient(run_name, run_storage)
    if client.find() is None:
        raise GraphError(f"no store of a run named {run_name!r} is up in this Ray cluster: start the run first")
    return client


def launch(
    store_class: type[GraphStore],
    run_storage: Storage,
    run_name: str,
    attributes: tuple[str, ...],
    config: GraphConfig,
    role: str = "",
) -> None:
    """Create the named, detached actor where there is none; it restarts for ever, from these arguments alone.

    The run's key must be there (``ensure_key``).
    """
    actor_class = ray.remote(concurrency_groups={"read": 4, "write": 1})(store_class)  # type: ignore[call-overload]
    actor_class.options(
        name=_actor_name(run_name),
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        max_task_retries=0,  # the client tries again itself, within its deadline
        num_cpus=0,
        **coordinator_options(role, run_storage.is_local),
    ).remote(run_storage, run_name, attributes, config, authenticated=True)


def _launch_and_describe(client: StoreClient, *arguments: Any) -> StoreInfo:
    launch(GraphStore, *arguments)
    try:
        return client.describe(START_S)
    except GemRayError:
        client.stop()  # it cannot load its graph: leave no actor behind
        raise


class StoreClient:
    """Calls to the store of one run; pickles without the key, so it may be sent to workers.

    Args:
        run_storage: the run's folder, where the key is that changes are signed with; None can only read

    Raises:
        GraphError: from every call, where no answer comes within its deadline (besides the errors of the call itself)
        ray.exceptions.RayTaskError: from every call, where the store met an error that is not ours; it holds the cause
    """

    def __init__(self, run_name: str, run_storage: Storage | None = None) -> None:
        self.run_name = run_name
        self._run_storage = run_storage
        self._actor: ActorHandle | None = None

    def __reduce__(self) -> tuple[type[StoreClient], tuple[str, Storage | None]]:
        return StoreClient, (self.run_name, self._run_storage)

    @cached_property
    def _key(self) -> bytes:
        if self._run_storage is None:
            raise GraphError(
                f"this client of run {self.run_name!r} can only read: pass the run's storage to connect_store"
            )
        return read_key(self._run_storage.child("graph"))

    def push(self, push: Push, deadline_s: float = 30.0) -> PushReply:
        """Send a push until it is answered; the store applies it at most once, also after a call that failed.

        Raises:
            StorageError: the store cannot write its journal; the push is not applied
            GraphError: the run's key cannot be read, so nothing can be signed
        """
        signature = sign_push(self._key, self.run_name, push)
        return self._call("push", push, signature, deadline_s=deadline_s)

    def snapshot(self, newer_than: int | None = None, deadline_s: float = 10.0) -> DisGraph | None:
        """The current graph, or None where there is none newer than version ``newer_than``."""
        return self._call("snapshot", newer_than, deadline_s=deadline_s)

    def describe(self, deadline_s: float = 10.0) -> StoreInfo:
        """Process, place and version of the store."""
        return self._call("describe", deadline_s=deadline_s)

    def history(self, source: str, target: str, deadline_s: float = 60.0) -> tuple[EdgeRecord, ...]:
        """Changes of the edge source -> target among the kept versions, oldest first."""
        return self._call("history", source, target, deadline_s=deadline_s, attempt_s=deadline_s)

    def evidence(self, source: str, target: str, deadline_s: float = 60.0) -> tuple[str, ...]:
        """Ids of the evidence behind the edge's changes, newest first (files under the run's ``evidence/``)."""
        newest_first = reversed(self.history(source, target, deadline_s))
        return tuple(dict.fromkeys(record.evidence_id for record in newest_first if record.evidence_id))

    def at(self, version: int, deadline_s: float = 60.0) -> DisGraph:
        """The graph as it was in a kept version.

        Raises:
            NotKeptError: it is not
        """
        return self._call("at", version, deadline_s=deadline_s, attempt_s=deadline_s)

    def diff(self, before: int, after: int, deadline_s: float = 60.0) -> tuple[EdgeChange, ...]:
        """Edges that differ between two kept versions."""
        return self._call("diff", before, after, deadline_s=deadline_s, attempt_s=deadline_s)

    def rollback(self, version: int, deadline_s: float = 60.0) -> PushReply:
        """Make a new version that is as ``version`` was, which must still be kept."""
        operation_id = f"rollback-{uuid.uuid4().hex}"
        signature = sign_rollback(self._key, self.run_name, operation_id, version)
        return self._call("rollback", operation_id, version, signature, deadline_s=deadline_s, attempt_s=deadline_s)

    def stop(self, deadline_s: float = 10.0) -> None:
        """End the actor for good, after it has published its version; nothing happens where there is none."""
        actor = self.find()
        if actor is None:
            return
        try:
            self._call("close", deadline_s=deadline_s)
        except GemRayError as error:
            logger.warning("store of run %s is ended without a last snapshot: %s", self.run_name, error)
        ray.kill(actor, no_restart=True)
        end = time.monotonic() + deadline_s
        while self.find() is not None and time.monotonic() < end:
            time.sleep(RETRY_EVERY_S)
        self._actor = None

    def find(self) -> ActorHandle | None:
        """The actor, None where there is none."""
        try:
            return ray.get_actor(_actor_name(self.run_name), namespace=NAMESPACE)
        except ValueError:
            return None

    def _call(self, method: str, *arguments: Any, deadline_s: float, attempt_s: float = ATTEMPT_S) -> Any:
        end = time.monotonic() + deadline_s
        fault = "there is no such actor"
        while (left := end - time.monotonic()) > 0:
            self._actor = self._actor or self.find()
            if self._actor is not None:
                try:
                    answer = getattr(self._actor, method).remote(*arguments)
                    return ray.get(answer, timeout=min(left, attempt_s))
                except RayTaskError as error:
                    if isinstance(error.cause, GemRayError):
                        raise error.cause from None
                    raise
                except (GetTimeoutError, RayActorError) as error:
                    fault = f"{type(error).__name__}: {error}"
                    self._actor = None
            time.sleep(min(RETRY_EVERY_S, max(0.0, end - time.monotonic())))
        raise GraphError(
            f"the graph store of run {self.run_name!r} did not answer {method} within {deadline_s:g} s ({fault}); "
            "trying again is safe; see whether the actor is alive with `ray list actors`"
        )


def _actor_name(run_name: str) -> str:
    return f"disgraph-{run_name}"
