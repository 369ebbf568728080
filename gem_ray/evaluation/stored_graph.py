"""The newest DisGraph of a run, read from its storage: no actor, no lock, also while the run goes on.

The newest snapshot, and the records of the journal after it. A run that was interrupted before its first snapshot, or
one of which only checkpoints were copied, has the graph of its newest checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gem_ray.checkpoint import load_checkpoint
from gem_ray.errors import DataError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.record import Record, parse
from gem_ray.graph.snapshots import read_snapshot, snapshot_versions
from gem_ray.storage import Storage

TRIES = 3  # a store at work may drop a snapshot between our listing and our reading


def newest_graph(run: Storage) -> DisGraph:
    """The newest version in a run's folder.

    Raises:
        DataError: the run has neither a graph nor a checkpoint
        GraphError: a file of the graph is damaged
    """
    stored = _from_store(run.child("graph"))
    if stored is not None:
        return stored
    checkpoint = load_checkpoint(run)
    if checkpoint is None:
        raise DataError(f"{run.uri} holds no graph; set run.uri and run.name to those of a run of jobs.train")
    return DisGraph.from_json(checkpoint.graph_json)


def stored_records(graph_folder: Storage) -> list[Record]:
    """Every record that the journal still holds, in order of versions; a frame that is being written is left out."""
    names = graph_folder.list()
    segments = sorted(name for name in names if re.fullmatch(r"journal[-/]\d{12}", name))
    records: list[Record] = []
    for name in segments:
        try:
            records += parse(graph_folder.read_bytes(name), f"{graph_folder.uri}/{name}")[0]
        except FileNotFoundError:  # dropped meanwhile: history that nobody needs any more
            continue
    return sorted(records, key=lambda record: record.version)


def replayed(graph_folder: Storage) -> Iterator[tuple[Record, DisGraph]]:
    """Every record after the oldest snapshot, with the graph it led to."""
    versions = snapshot_versions(graph_folder)
    if not versions:
        return
    graph, _ = read_snapshot(graph_folder, versions[0])
    for record in stored_records(graph_folder):
        if record.version == graph.version + 1:
            graph = record.apply_to(graph)
            yield record, graph


def _from_store(folder: Storage) -> DisGraph | None:
    for _ in range(TRIES):
        versions = snapshot_versions(folder)
        if not versions:
            return None
        try:
            graph, _ = read_snapshot(folder, versions[-1])
        except FileNotFoundError:
            continue
        for record in stored_records(folder):
            if record.version == graph.version + 1:
                graph = record.apply_to(graph)
        return graph
    return None
