"""The versions of a run's DisGraph, one line each: when, by what evidence, and how far edges went."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gem_ray.evaluation.stored_graph import replayed
from gem_ray.graph.snapshots import read_snapshot, snapshot_versions
from gem_ray.storage import Storage


def version_table(graph_folder: Storage) -> Table:
    """All kept versions, oldest first; the first has no change before it that is still known.

    Raises:
        GraphError: a file of the graph is damaged
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("version", "time, UTC", "by", "edges named", "largest change", "edge"):
        table.add_column(name, justify="left" if name in ("by", "edge", "time, UTC") else "right", no_wrap=True)
    versions = snapshot_versions(graph_folder)
    if not versions:
        return table
    before, _ = read_snapshot(graph_folder, versions[0])
    table.add_row(str(before.version), "", "", "", "", "")
    for record, graph in replayed(graph_folder):
        change = graph.strength - before.strength
        i, j = np.unravel_index(np.abs(change).argmax(), change.shape)
        table.add_row(
            str(record.version),
            datetime.fromtimestamp(record.time_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            record.push.kind.value if record.push else "rollback",
            str(len(record.push.edges)) if record.push else "all",
            f"{change[i, j]:+.3f}" if change[i, j] else "–",
            f"{graph.attributes[i]} → {graph.attributes[j]}" if change[i, j] else "",
        )
        before = graph
    return table
