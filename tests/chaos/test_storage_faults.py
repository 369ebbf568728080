"""Reading over an S3 that refuses, resets, stalls, cuts and flips: the same bytes as without, or an error of ours.

Every store of bytes that training depends on is read through the proxy: manifest, shards, checkpoint, table of scores,
and the DisGraph's journal and snapshots, which are written through it too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import boto3
import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import GraphConfig, StorageConfig
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard, read_records
from gem_ray.errors import DataError, GemRayError, GraphError, StorageError
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, ScoresRef
from gem_ray.scoring.rescoring.scores import ScoreTable, read_scores, write_scores
from gem_ray.storage import Storage
from kit.proxy import fault_proxy

SEED = 20261127
ATTRIBUTES = ("male", "beard", "bald")
FAULTS = {
    "slow_down": {"slow_down": 0.3},
    "reset": {"reset": 0.2},
    "cut": {"cut": 0.2},
    "flip": {"flip": 0.2},
    "flip without checksums": {"flip": 0.2, "checksums": False},
    "a little of all": {"slow_down": 0.1, "reset": 0.05, "lost": 0.05, "cut": 0.1, "flip": 0.1, "checksums": False},
}
GRAPH = GraphConfig(snapshot_every_pushes=5, max_staleness=30, keep_versions=40)


@dataclass(frozen=True)
class Written:
    """What lies in the bucket, and what a clean read of it gives."""

    endpoint: str
    scores: ScoresRef
    digests: dict[str, str]


def digest(*arrays: np.ndarray | bytes) -> str:
    joined = hashlib.sha256()
    for array in arrays:
        joined.update(array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes())
    return joined.hexdigest()


def at(endpoint: str, folder: str, **settings: float) -> Storage:
    return Storage(f"s3://chaos/{folder}", StorageConfig(endpoint_url=endpoint, **settings))


def write_data(storage: Storage) -> None:
    rng = np.random.default_rng(SEED)
    entries = []
    for number in range(12):
        images = rng.integers(0, 256, (40, 16, 16, 3), np.uint8)
        shard = encode_shard(images, np.arange(40) + 40 * number, rng.uniform(size=(40, 3)), ATTRIBUTES)
        name = f"shards/{number:05d}.parquet"
        storage.write_bytes(name, shard)
        entries.append(ShardEntry(name=name, count=40, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest()))
    write_manifest(
        storage,
        Manifest(
            shape=(16, 16, 3),
            shards=tuple(entries),
            source="test",
            attributes=ATTRIBUTES,
            seed=0,
            num_skipped=0,
            settings={},
        ),
    )


def make_push(number: int, base_version: int) -> Push:
    edge = EdgeUpdate(
        source="male",
        target=("beard", "bald")[number % 2],
        strength=float(np.random.default_rng(number).uniform(-1, 1)),
        standard_error=0.1,
        num_observations=number,
    )
    kind = tuple(EvidenceKind)[number % 4]
    return Push(push_id=f"p{number}", base_version=base_version, kind=kind, edges=(edge,), evidence_id=f"e{number}")


def push_many(store: GraphStore, count: int) -> None:
    for number in range(1, count + 1):
        assert store.push(make_push(number, number - 1)).version == number


def read_data(endpoint: str) -> str:
    storage = at(endpoint, "data")
    manifest = read_manifest(storage)
    records = read_records(storage, manifest, 0, manifest.count)
    return digest(manifest.to_json().encode(), records.images, records.index, records.attributes)


def read_checkpoint(endpoint: str) -> str:
    found = load_checkpoint(at(endpoint, "run"))
    assert found is not None
    tensors = {**found.model, **found.optimizer}
    return digest(found.graph_json.encode(), str(found.step).encode(), *(t.numpy() for t in tensors.values()))


def read_graph(endpoint: str) -> str:
    store = GraphStore(at(endpoint, "run"), "run", ATTRIBUTES, GRAPH)
    graph, history = store.snapshot(None), store.history("male", "beard")
    assert graph is not None
    return digest(graph.digest().encode(), repr(history).encode())


def read_table(endpoint: str, ref: ScoresRef) -> str:
    table = read_scores(at(endpoint, "run"), ref)
    return digest(table.index, table.probabilities, table.digit_mass)


@pytest.fixture(scope="module")
def written(s3_endpoint: str) -> Written:
    run, rng = at(s3_endpoint, "run"), np.random.default_rng(SEED)
    write_data(at(s3_endpoint, "data"))
    for step in (10, 20):
        save_checkpoint(
            run,
            Checkpoint(
                step=step,
                model={"w": torch.arange(20_000.0) + step},
                optimizer={"m": torch.ones(20_000) * step},
                graph_json=DisGraph.empty(ATTRIBUTES).to_json(),
                state={"step": step},
            ),
            keep=2,
        )
    push_many(GraphStore(run, "run", ATTRIBUTES, GRAPH), 18)
    answers = rng.dirichlet(np.ones(6), (50, 3))
    ref = write_scores(run, ScoreTable(ATTRIBUTES, np.arange(50), answers, np.ones((50, 3))), "nano")
    digests = {name: read(s3_endpoint) for name, read in readers(ref).items()}
    return Written(s3_endpoint, ref, digests)


def readers(ref: ScoresRef) -> dict[str, Callable[[str], str]]:
    return {
        "data": read_data,
        "checkpoint": read_checkpoint,
        "graph": read_graph,
        "scores": lambda endpoint: read_table(endpoint, ref),
    }


LONGER = ("slow_down", "reset", "cut", "flip")


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind in LONGER)) for kind in FAULTS])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between tries: these tests are about what is tried, not about how long it takes."""
    sleep = time.sleep
    monkeypatch.setattr("gem_ray.storage_retries.time.sleep", lambda seconds: sleep(seconds / 20))


def test_everything_read_through_faults_is_what_was_written(written, kind):
    faults = FAULTS[kind]
    with fault_proxy(written.endpoint, SEED, **faults) as proxy:
        for name, read in readers(written.scores).items():
            assert read(proxy.url) == written.digests[name], f"{name} is another over {kind}"
    assert proxy.counts.total() >= 5, f"too few faults to prove anything: {proxy.counts}"
    assert set(faults) - {"checksums"} <= set(proxy.counts) | {"lost"}


def test_control_a_reader_without_a_hash_takes_flipped_bytes(written):
    """What pyarrow or any other plain reader does, and ours would do without the manifest's hashes."""
    client_settings = {"endpoint_url": written.endpoint}
    name = "data/shards/00000.parquet"
    right = boto3.client("s3", **client_settings).get_object(Bucket="chaos", Key=name)["Body"].read()
    with fault_proxy(written.endpoint, SEED, checksums=False, flip=0.5) as proxy:
        storage = at(proxy.url, "data")
        found = [storage.read_bytes("shards/00000.parquet") for _ in range(20)]
    wrong = sum(data != right for data in found)
    assert wrong == proxy.counts["flip"] > 3


def test_no_flip_is_ever_accepted_where_every_read_is_flipped(written):
    with fault_proxy(written.endpoint, SEED, checksums=False, flip=1.0) as proxy:
        for name, read in readers(written.scores).items():
            with pytest.raises(GemRayError, match="damaged|sha256|none of the 2 checkpoints|not a manifest"):
                print(name, read(proxy.url))
    assert proxy.counts["flip"] >= 3 * len(written.digests)


def test_one_flip_costs_a_second_read_and_not_the_newest_checkpoint(written):
    """Before there was a second read, a run went back to an older checkpoint because of one bad packet."""
    steps = set()
    for seed in range(6):
        with fault_proxy(written.endpoint, seed, checksums=False, flip=0.3) as proxy:
            found = load_checkpoint(at(proxy.url, "run"))
            assert found is not None
            if proxy.counts["flip"]:
                steps.add(found.step)
    assert steps == {20}


def test_bytes_that_are_damaged_in_storage_stay_an_error_with_the_name(written):
    run = at(written.endpoint, "data")
    shard = run.read_bytes("shards/00003.parquet")
    run.write_bytes("shards/00003.parquet", shard[:-1] + bytes([shard[-1] ^ 1]))
    try:
        with pytest.raises(DataError, match=r"shards/00003\.parquet .* is damaged"):
            read_data(written.endpoint)
    finally:
        run.write_bytes("shards/00003.parquet", shard)
    assert read_data(written.endpoint) == written.digests["data"]


def test_pushes_through_faults_are_applied_once_each_and_are_there_afterwards(written, kind):
    """Lost answers among them: the record is written, and the store hears of a reset."""
    faults = {**FAULTS[kind], "lost": 0.15}
    folder = f"pushed-{kind.replace(' ', '-')}"
    expected = DisGraph.empty(ATTRIBUTES)
    for number in range(1, 13):
        expected = expected.apply(make_push(number, number - 1), GRAPH.max_change)
    with fault_proxy(written.endpoint, SEED, **faults) as proxy:
        push_many(GraphStore(at(proxy.url, folder), "run", ATTRIBUTES, GRAPH), 12)
    assert proxy.counts["lost"] > 0
    again = GraphStore(at(written.endpoint, folder), "run", ATTRIBUTES, GRAPH)
    assert again.snapshot(None).digest() == expected.digest()
    assert again.push(make_push(12, 11)).duplicate


def test_a_checkpoint_saved_through_faults_is_whole(written, kind):
    faults = {**FAULTS[kind], "lost": 0.25}
    checkpoint = Checkpoint(step=7, model={"w": torch.arange(5000.0)}, graph_json="{}", state={"seed": 1})
    run = f"saved-{kind.replace(' ', '-')}"
    with fault_proxy(written.endpoint, SEED, **faults) as proxy:
        for step in (7, 8, 9):
            save_checkpoint(at(proxy.url, run), replace(checkpoint, step=step), keep=2)
    assert proxy.counts.total() > 2
    found = load_checkpoint(at(written.endpoint, run))
    assert found is not None
    assert found.step == 9
    assert torch.equal(found.model["w"], checkpoint.model["w"])


@pytest.mark.parametrize("lost", [0.0, 0.2])
def test_one_of_sixteen_that_race_over_a_faulty_line_creates_an_object(written, lost):
    """A winner that never heard of it takes itself for a loser, so there may be none; without lost answers there is."""
    with fault_proxy(written.endpoint, SEED, lost=lost, slow_down=0.2) as proxy:
        storage = at(proxy.url, f"race-{lost}")

        def create(number: int) -> bool:
            return storage.create_bytes("one", str(number).encode())

        with ThreadPoolExecutor(16) as pool:
            won = list(pool.map(create, range(16)))
    assert proxy.counts["slow_down"] > 0
    stored = int(at(written.endpoint, f"race-{lost}").read_bytes("one"))
    winners = [number for number, has_won in enumerate(won) if has_won]
    assert winners == [stored] or (not winners and proxy.counts["lost"] > 0)


def test_a_server_that_falls_silent_now_and_then_costs_its_timeout_and_nothing_else(written):
    began = time.monotonic()
    with fault_proxy(written.endpoint, SEED, stall=0.1) as proxy:
        storage = at(proxy.url, "data", timeout_s=0.5)
        manifest = read_manifest(storage)
        records = read_records(storage, manifest, 0, manifest.count)
    assert proxy.counts["stall"] > 0
    found = digest(manifest.to_json().encode(), records.images, records.index, records.attributes)
    assert found == written.digests["data"]
    assert time.monotonic() - began < 3.0 + 2.0 * 0.5 * proxy.counts["stall"]


def test_a_server_that_stays_silent_is_an_error_within_its_bound(written):
    settings = {"timeout_s": 0.5, "patience_s": 3.0}
    began = time.monotonic()
    with fault_proxy(written.endpoint, SEED, stall=1.0) as proxy:
        with pytest.raises(StorageError, match=r"cannot read manifest\.json"):
            read_manifest(at(proxy.url, "data", **settings))
    assert proxy.counts["stall"] > 1
    # A try of reading is at most four requests (s3fs nests two times two), and asks for the size before.
    assert time.monotonic() - began < 3.0 + 6 * 0.5 + 2.0


def test_a_store_whose_storage_is_silent_says_so_and_works_again_afterwards(written):
    folder, settings = "silent", {"timeout_s": 0.5, "patience_s": 1.0}
    with fault_proxy(written.endpoint, SEED, stall=1.0) as proxy:
        silent = GraphStore(at(proxy.url, folder, **settings), "run", ATTRIBUTES, GRAPH)
        with pytest.raises((StorageError, GraphError)):
            silent.push(make_push(1, 0))
    assert proxy.counts["stall"] > 0
    store = GraphStore(at(written.endpoint, folder, **settings), "run", ATTRIBUTES, GRAPH)
    assert store.snapshot(None).version == 0, "a push was applied that nobody was told of"
    push_many(store, 3)
