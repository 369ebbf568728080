"""Versions of a run's DisGraph out of its storage: a snapshot, and the records of the journal since, replayed.

Nothing here locks: while a version is read, the caller sees to it that nothing it needs is dropped.
"""

from __future__ import annotations

from gem_ray.errors import GraphError, NotKeptError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.history import edge_record
from gem_ray.graph.journal import Journal
from gem_ray.graph.snapshots import drop_snapshot, read_snapshot, snapshot_versions, write_snapshot
from gem_ray.messages.graph import EdgeRecord
from gem_ray.storage import Storage


def newest(
    storage: Storage, journal: Journal, run_name: str, attributes: tuple[str, ...]
) -> tuple[DisGraph, dict[str, int], int]:
    """The newest graph, the ids of the changes that led to it with their versions, and its snapshot's version.

    Where there is nothing yet, an empty graph is published first.

    Raises:
        GraphError: the graph has other attributes, or storage holds what is damaged
        StorageError: storage cannot be reached
    """
    if not snapshot_versions(storage):
        write_snapshot(storage, DisGraph.empty(attributes), {})
    version = snapshot_versions(storage)[-1]
    graph, applied = read_snapshot(storage, version)
    if graph.attributes != attributes:
        raise GraphError(
            f"the graph of run {run_name!r} in {storage.uri} has the attributes "
            f"{', '.join(graph.attributes)}, not {', '.join(attributes)}: "
            "choose another run.name, or set model.attributes as they were"
        )
    for record in journal.read(version):
        graph = record.apply_to(graph)
        applied[record.operation_id] = record.version
    return graph, applied, version


def graph_at(
    storage: Storage, journal: Journal, version: int, kept: list[int], current: int, keep_versions: int
) -> DisGraph:
    """The graph as it was in a kept version.

    Args:
        kept: versions of the snapshots, ascending
        current: the newest version, read after they were listed
        keep_versions: ``graph.keep_versions``, for the message

    Raises:
        NotKeptError: the version never was, or is not kept any more
    """
    base = max((v for v in kept if v <= version), default=None)
    if base is None or version > current:
        raise NotKeptError(
            f"version {version} is not kept: there are {kept[0]} to {current} (graph.keep_versions={keep_versions})"
        )
    graph, _ = read_snapshot(storage, base)
    for record in journal.read(base):
        if record.version <= version:
            graph = record.apply_to(graph)
    return graph


def edge_history(storage: Storage, journal: Journal, i: int, j: int) -> tuple[EdgeRecord, ...]:
    """The kept changes of edge (i, j), oldest first."""
    oldest = snapshot_versions(storage)[0]
    graph, _ = read_snapshot(storage, oldest)
    changes = []
    for record in journal.read(oldest):
        before, graph = graph, record.apply_to(graph)
        change = edge_record(record, before, graph, i, j)
        changes += [] if change is None else [change]
    return tuple(changes)


def drop_before(storage: Storage, journal: Journal, oldest_kept: int) -> int:
    """Drop what no version from ``oldest_kept`` on needs; returns the version of the oldest snapshot that stays."""
    versions = snapshot_versions(storage)
    base = max((version for version in versions if version <= oldest_kept), default=0)
    for version in versions:
        if version < base:
            drop_snapshot(storage, version)
    journal.drop(base)
    return base
