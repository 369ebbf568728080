"""Every reader of a file that somebody else may have written: our own errors and nothing else, whatever the bytes are.

Valid files are changed in one to three places: a value of the JSON becomes another one, goes or comes twice; bytes are
flipped, cut, doubled. Hashes that a file carries of another are made right again, as somebody who can write the folder
would. ``make fuzz`` tries many more examples than ``make test``.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import GemConfig, GraphConfig, StorageConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.manifest import Manifest, ShardEntry, content_sha256, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard, read_records
from gem_ray.errors import DataError, GemRayError
from gem_ray.evaluation.history import read_history
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, ScoresRef
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.scoring.asking.answers import StoredAnswers
from gem_ray.scoring.rescoring.scores import ScoreTable, read_scores, write_scores
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bald")
FUZZ = settings(
    derandomize=True,
    deadline=None,
    max_examples=int(os.environ.get("GEM_RAY_FUZZ_EXAMPLES", "30")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, 1e-320]),
    st.sampled_from(
        ["", "male", "inf", "nan", "../../etc/passwd", "/etc/passwd", "s3://other/x", "a\0b", "\ud800", "x" * 5000]
    ),
    st.just([]),
    st.just({}),
    st.just([[1.0, 2.0], [3.0]]),
    st.just({"__class__": "os.system", "_target_": "os.system"}),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


@st.composite
def changed_json(draw: st.DrawFn, text: str) -> bytes:
    """A valid document with one to three values changed."""
    content = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        paths = list(places(content))
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        holder = content
        for key in parents:
            holder = holder[key]
        match draw(st.sampled_from(["set", "set", "set", "drop", "add"])):
            case "set":
                holder[last] = copy.deepcopy(draw(odd_values))
            case "drop":
                del holder[last]
            case "add" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case "add":
                holder[f"{last}_too"] = copy.deepcopy(holder[last])
    return json.dumps(content).encode()


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """A valid file with bytes flipped, cut, doubled, or other bytes altogether."""
    match draw(st.sampled_from(["flip", "flip", "cut", "double", "insert", "other"])):
        case "flip":
            flipped = bytearray(data)
            for place in draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=4)):
                flipped[place] ^= draw(st.integers(1, 255))
            return bytes(flipped)
        case "cut":
            return data[: draw(st.integers(0, len(data) - 1))]
        case "double":
            start, stop = sorted(draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
            return data[:stop] + data[start:]
        case "insert":
            place = draw(st.integers(0, len(data)))
            return data[:place] + draw(st.binary(min_size=1, max_size=16)) + data[place:]
    return draw(st.binary(max_size=200))


def changed(data: bytes, is_json: bool) -> st.SearchStrategy[bytes]:
    return st.one_of(changed_json(data.decode()), changed_bytes(data)) if is_json else changed_bytes(data)


def refuses_or_reads(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, or None where it refuses with an error of ours; anything else fails the test."""
    try:
        return read()
    except GemRayError:
        return None


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path), StorageConfig())


def make_data(folder: Storage) -> Manifest:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 4, 3), np.uint8)
    shard = encode_shard(images, np.arange(6), rng.uniform(size=(6, 2)), ["male", "beard"])
    folder.write_bytes("shards/a.parquet", shard)
    entry = ShardEntry(name="shards/a.parquet", count=6, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest())
    manifest = Manifest(
        shape=(4, 4, 3),
        shards=(entry,),
        source="faces",
        attributes=("male", "beard"),
        seed=0,
        num_skipped=0,
        settings={"crop": 0},
        splits={"train": 4, "test": 2},
        relations=((0.0, 0.5), (0.5, 0.0)),
    )
    write_manifest(folder, manifest)
    return manifest


def hash_made_right(manifest: bytes) -> bytes:
    try:
        content = json.loads(manifest)
        content.pop("sha256", None)
        return json.dumps({**content, "sha256": content_sha256(content)}).encode()
    except (ValueError, AttributeError, TypeError):
        return manifest


@FUZZ
@given(data=st.data())
def test_a_manifest(folder, data):
    good = make_data(folder)
    folder.write_bytes("manifest.json", hash_made_right(data.draw(changed(good.to_json().encode(), is_json=True))))
    manifest = refuses_or_reads(lambda: read_manifest(folder))
    if manifest is not None:
        assert manifest.count > 0
        assert all(shard.count > 0 for shard in manifest.shards)
        records = refuses_or_reads(lambda: read_records(folder, manifest, 0, min(manifest.count, 6)))
        assert records is None or records.images.dtype == np.uint8


@FUZZ
@given(data=st.data())
def test_a_shard_whose_hash_was_made_right(folder, data):
    good = make_data(folder)
    shard = data.draw(changed(folder.read_bytes("shards/a.parquet"), is_json=False))
    folder.write_bytes("shards/a.parquet", shard)
    entry = replace(good.shards[0], sha256=hashlib.sha256(shard).hexdigest(), num_bytes=len(shard))
    write_manifest(folder, replace(good, shards=(entry,)))
    records = refuses_or_reads(lambda: read_records(folder, read_manifest(folder), 0, 6))
    assert records is None or records.images.shape == (6, 4, 4, 3)


@FUZZ
@given(data=st.data())
def test_a_shard_whose_hash_was_not(folder, data):
    good = make_data(folder)
    before = folder.read_bytes("shards/a.parquet")
    shard = data.draw(changed(before, is_json=False))
    folder.write_bytes("shards/a.parquet", shard)
    if shard != before:
        with pytest.raises(DataError, match=r"sha256"):
            read_records(folder, good, 0, 6)


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "graph.json", "model.safetensors"])
@FUZZ
@given(data=st.data())
def test_a_checkpoint(folder, name, data):
    shutil.rmtree(folder.local_path)
    checkpoint = Checkpoint(
        step=3,
        model={"w": torch.ones(2, 3), "b": torch.zeros(2)},
        graph_json=DisGraph.empty(ATTRIBUTES).to_json(),
        state={"seed": 1, "config": "{}"},
    )
    save_checkpoint(folder, checkpoint, keep=2)
    place = "checkpoints/step_000000003"
    wrong = data.draw(changed(folder.read_bytes(f"{place}/{name}"), is_json=name.endswith("json")))
    folder.write_bytes(f"{place}/{name}", wrong)
    if name != "manifest.json":
        manifest = json.loads(folder.read_bytes(f"{place}/manifest.json"))
        manifest["sha256"][name] = hashlib.sha256(wrong).hexdigest()
        folder.write_bytes(f"{place}/manifest.json", json.dumps(manifest).encode())
    found = refuses_or_reads(lambda: load_checkpoint(folder))
    if found is not None:
        assert found.step == 3
        assert isinstance(found.state, dict)
        refuses_or_reads(lambda: DisGraph.from_json(found.graph_json))


def make_graph() -> DisGraph:
    edge = EdgeUpdate(source="male", target="beard", strength=0.5, standard_error=0.1, num_observations=9)
    push = Push(
        push_id="p",
        base_version=0,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id="e.json",
        scores=ScoresRef(uri="scores/x", sha256="0" * 64, num_images=9),
    )
    return DisGraph.empty(ATTRIBUTES).apply(push, 1.0)


@FUZZ
@given(data=st.data())
def test_a_graph(data):
    text = data.draw(changed(make_graph().to_json().encode(), is_json=True)).decode(errors="surrogateescape")
    graph = refuses_or_reads(lambda: DisGraph.from_json(text))
    if graph is not None:
        assert np.isfinite(graph.strength).all()
        assert np.abs(graph.strength).max() <= 1
        assert DisGraph.from_json(graph.to_json()).digest() == graph.digest()


def frame(payload: bytes) -> bytes:
    words = b"%08x %08x " % (len(payload), zlib.crc32(payload))
    return words + b"%08x " % zlib.crc32(words) + payload + b"\n"


@pytest.mark.parametrize("checksums", ["right", "as they were"])
@FUZZ
@given(data=st.data())
def test_a_journal(folder, checksums, monkeypatch, data):
    monkeypatch.setattr("time.time", lambda: 1.8e9)  # the same bytes each time
    shutil.rmtree(folder.local_path)
    config = GraphConfig(snapshot_every_pushes=10, max_staleness=4, keep_versions=20)
    store = GraphStore(folder, "run", ATTRIBUTES, config)
    edge = EdgeUpdate(source="male", target="beard", strength=0.5, standard_error=np.inf, num_observations=9)
    for number in range(2):
        reply = store.push(
            Push(push_id=f"p{number}", base_version=number, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="e")
        )
        assert reply.applied
    before = store.snapshot(None)
    store._journal.close()
    (path,) = (folder.local_path / "graph").glob("journal-*")
    lines = path.read_bytes().splitlines()
    assert [frame(line[27:]) for line in lines] == [line + b"\n" for line in lines], (
        "the frames are not as this test has them"
    )
    if checksums == "right":
        place = data.draw(st.integers(0, 1))
        payloads = [line[27:] for line in lines]
        payloads[place] = data.draw(changed_json(payloads[place].decode()))
        path.write_bytes(b"".join(map(frame, payloads)))
    else:
        path.write_bytes(data.draw(changed_bytes(path.read_bytes())))
    again = GraphStore(folder, "run", ATTRIBUTES, config)
    graph = refuses_or_reads(lambda: again.snapshot(None))
    if graph is not None:
        assert np.abs(graph.strength).max() <= 1
        assert graph.attributes == ATTRIBUTES
        if checksums == "as they were":
            assert graph.version <= before.version
        refuses_or_reads(lambda: again.history("male", "beard"))
        again.close()


@FUZZ
@given(data=st.data())
def test_a_configuration(data):
    text = data.draw(changed(config_to_json(GemConfig()).encode(), is_json=True)).decode(errors="surrogateescape")
    config = refuses_or_reads(lambda: config_from_json(text))
    if config is not None:
        assert config_from_json(config_to_json(config)) == config


@FUZZ
@given(data=st.data())
def test_a_log_of_metrics(folder, data):
    lines = [{"step": step, "images_per_s": 10.0, "kl_nodes": [0.1, 0.2]} for step in range(3)]
    text = "\n".join(json.dumps(line) for line in lines).encode()
    folder.write_bytes("metrics.jsonl", data.draw(changed_bytes(text)))
    history = refuses_or_reads(lambda: read_history(folder))
    if history is not None:
        assert history.column("step").dtype == np.float64
        assert history.table("kl_nodes").ndim == 2
        assert history.training_s(8) >= 0


def make_scores() -> ScoreTable:
    rng = np.random.default_rng(0)
    return ScoreTable(ATTRIBUTES, np.arange(5), rng.dirichlet(np.ones(6), (5, 3)), np.ones((5, 3)))


@FUZZ
@given(data=st.data())
def test_a_table_of_scores_whose_hash_was_made_right(folder, data):
    ref = write_scores(folder, make_scores(), "nano")
    wrong = data.draw(changed(folder.read_bytes(ref.uri), is_json=False))
    folder.write_bytes(ref.uri, wrong)
    table = refuses_or_reads(lambda: read_scores(folder, replace(ref, sha256=hashlib.sha256(wrong).hexdigest())))
    if table is not None:
        assert table.probabilities.shape == (len(table.index), len(table.attributes), 6)


@pytest.mark.parametrize("column", ["index", "male|p0", "male|digit_mass", "male|expectation"])
@pytest.mark.parametrize("values", [["a"] * 5, [None] * 5, [[1]] * 5, [b"x"] * 5, [True] * 5])
def test_a_table_of_scores_with_a_column_of_something_else(folder, column, values):
    ref = write_scores(folder, make_scores(), "nano")
    stored = pq.read_table(io.BytesIO(folder.read_bytes(ref.uri)))
    place = stored.column_names.index(column)
    wrong = stored.set_column(place, column, pa.array(values)).replace_schema_metadata(stored.schema.metadata)
    buffer = io.BytesIO()
    pq.write_table(wrong, buffer)
    folder.write_bytes(ref.uri, buffer.getvalue())
    sha = hashlib.sha256(buffer.getvalue()).hexdigest()
    table = refuses_or_reads(lambda: read_scores(folder, replace(ref, sha256=sha)))
    assert (table is None) == (column != "male|expectation"), "what is computed from the rest is not read"


@FUZZ
@given(data=st.data())
def test_stored_answers_are_left_out_where_they_are_damaged(data):
    path = tempfile.mkdtemp()
    folder = Storage(path, StorageConfig())
    keys = [hashlib.sha256(bytes([n])).digest()[:16] for n in range(3)]
    answer = ScoreAnswer(probabilities=(0.5, 0.5, 0.0, 0.0, 0.0, 0.0), digit_mass=1.0)
    StoredAnswers(folder, 10**6).add(keys, [answer] * 3)
    (name,) = folder.list()
    wrong = data.draw(changed_bytes(folder.read_bytes(name)))
    folder.delete(name)
    renamed = f"{name.split('-')[0]}-{hashlib.sha256(wrong).hexdigest()}.parquet"
    folder.write_bytes(renamed, wrong)
    store = StoredAnswers(folder, 10**6)
    found = refuses_or_reads(lambda: store.get(keys))
    assert found is not None, "a damaged segment is left out, not an error"
    for one in found:
        assert one is None or abs(sum(one.probabilities) - 1) < 1e-3
    shutil.rmtree(path)
