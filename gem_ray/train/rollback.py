"""An earlier version of a run's DisGraph as its newest one, whether or not the run is up."""

from __future__ import annotations

import uuid
from contextlib import ExitStack

from gem_ray.config import GemConfig, GraphConfig
from gem_ray.config_json import config_from_json
from gem_ray.errors import ConfigError, GraphError
from gem_ray.evaluation.stored_graph import newest_graph
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.store import connect_store
from gem_ray.messages.graph import PushReply
from gem_ray.storage import Storage
from gem_ray.train.ray_session import running_ray
from gem_ray.train.run_lock import run_lock


def roll_back(config: GemConfig, run: Storage, version: int) -> PushReply:
    """Make a new version that is as ``version`` was; nothing of the history is lost, so it can be undone alike.

    Where a driver holds the run, its store does it and all workers follow within ``graph.poll_every_s``; else the
    store is opened here.

    Args:
        config: says where the cluster of a run that is up is

    Raises:
        NotKeptError: the version is not kept
        ConfigError: the run is up, but no Ray is to be found
        DataError, GraphError, StorageError: no such run, a damaged graph, a store that refuses, or storage that fails
    """
    newest = newest_graph(run)
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(run))
        except ConfigError:
            stack.enter_context(running_ray(config))
            reply = connect_store(config.run.name, run).rollback(version)
            if reply.refusal is not None:
                raise GraphError(
                    f"the store of run {config.run.name!r} refused to go back to version {version}: "
                    f"{reply.refusal.value}: {reply.detail}"
                ) from None
            return reply
        store = GraphStore(run, config.run.name, newest.attributes, _graph_config(run))
        try:
            return store.rollback(f"rollback-{uuid.uuid4().hex}", version)  # type: ignore[operator]
        finally:
            store.close()  # type: ignore[operator]  # Ray's stubs know these methods as an actor's only


def _graph_config(run: Storage) -> GraphConfig:
    try:
        return config_from_json(run.read_bytes("config.json")).graph
    except FileNotFoundError:  # only the graph was copied
        return GraphConfig()
