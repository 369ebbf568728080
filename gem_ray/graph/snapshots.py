"""Whole versions of a DisGraph in the run's storage, from which the journal is replayed.

A snapshot ``snapshot-<version>`` is three lines: the sha256 of the rest, the graph as JSON, and the ids of the changes
that led to it with their versions, by which a repeated push is known.
"""

from __future__ import annotations

import hashlib
import json
import re

from gem_ray.errors import GraphError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.typed_json import parse_json, typed


def snapshot_versions(storage: Storage) -> list[int]:
    """Versions of the snapshots in a run's graph folder, ascending."""
    return sorted(int(m[1]) for name in storage.list() if (m := re.fullmatch(r"snapshot-(\d{12})", name)))


def write_snapshot(storage: Storage, graph: DisGraph, applied: dict[str, int]) -> None:
    """Publish a version whole or not at all; a version that is there stays, since it can hold nothing else.

    Raises:
        StorageError: it cannot be written
    """
    body = f"{graph.to_json()}\n{json.dumps(applied)}\n".encode()
    storage.create_bytes(_name(graph.version), hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def read_snapshot(storage: Storage, version: int) -> tuple[DisGraph, dict[str, int]]:
    """A version and the ids of the changes before it.

    Raises:
        GraphError: the file is damaged, or has been dropped since it was listed
    """
    try:
        data = storage.read_bytes(_name(version), _agrees_with_itself)
    except FileNotFoundError as error:
        raise GraphError(
            f"{storage.uri}/{_name(version)} is gone since it was listed: another store of this run has dropped it; "
            "ask again"
        ) from error
    body = data.partition(b"\n")[2]
    if not _agrees_with_itself(data):
        raise GraphError(
            f"{storage.uri}/{_name(version)} is damaged: its sha256 is not the one it carries; delete it, and the "
            "snapshot before it and the journal give the same graph"
        )
    try:
        graph, applied = body.decode().splitlines()
        return DisGraph.from_json(graph), typed(dict[str, int], parse_json(applied), "applied")
    except ValueError as error:
        raise GraphError(f"{storage.uri}/{_name(version)} is no snapshot of a DisGraph: {error}") from error


def _agrees_with_itself(data: bytes) -> bool:
    digest, _, body = data.partition(b"\n")
    return hashlib.sha256(body).hexdigest().encode() == digest


def drop_snapshot(storage: Storage, version: int) -> None:
    """Remove a version that history no longer needs."""
    storage.delete(_name(version))


def _name(version: int) -> str:
    return f"snapshot-{version:012d}"
