from __future__ import annotations

from rich.console import Console

from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.evaluation.version_table import version_table
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage


def lines(folder: Storage) -> list[list[str]]:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(version_table(folder))
    return [line.split() for line in capture.get().splitlines()[2:] if line.strip(" ─")]


def test_every_kept_version_is_a_line_with_what_changed_most(tmp_path):
    run = Storage(str(tmp_path), StorageConfig())
    store = GraphStore(run, "run", ("bald", "beard", "male"), GraphConfig(max_change=1.0))
    edges = tuple(
        EdgeUpdate(source=source, target="male", strength=strength, standard_error=0.1, num_observations=9)
        for source, strength in (("bald", -0.125), ("beard", 0.5))
    )
    store.push(Push(push_id="p", base_version=0, kind=EvidenceKind.SCORES, edges=edges, evidence_id="e"))
    store.push(Push(push_id="q", base_version=1, kind=EvidenceKind.SAMPLES, edges=edges, evidence_id="e"))
    store.rollback("r", 0)
    first, scored, sampled, back = lines(run.child("graph"))
    assert first == ["0"]
    assert scored[0] == "1"
    assert scored[3:] == ["scores", "2", "+0.500", "beard", "→", "male"]
    assert sampled[3:] == ["samples", "2", "–"]
    assert back[3:] == ["rollback", "all", "-0.500", "beard", "→", "male"]


def test_folder_without_a_graph_gives_no_line(tmp_path):
    assert lines(Storage(str(tmp_path), StorageConfig())) == []
