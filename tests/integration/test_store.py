"""The store as a real actor: attach, restart, deadlines, and reads that do not wait for writes."""

from __future__ import annotations

import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import ray

from gem_ray.config import GemConfig, GraphConfig, RunConfig, StorageConfig
from gem_ray.errors import GraphError
from gem_ray.graph.authentication import ensure_key
from gem_ray.graph.store import GraphStore, StoreClient, connect_store, launch, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push, PushReply, Refusal
from gem_ray.storage import Storage
from gem_ray.train.rollback import roll_back
from gem_ray.train.run_lock import run_lock

# The credentials come first: Ray hands the environment on to its workers.
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("s3_credentials", "ray_4_cpus")]
ATTRIBUTES = ("male", "beard", "bald")
CONFIG = GraphConfig(snapshot_every_pushes=5)

# The store classes below run in Ray's workers, which cannot import a test module.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class SlowStore(GraphStore):
    """Takes two seconds over every push."""

    @ray.method(concurrency_group="write")
    def push(self, push: Push, signature: str = "") -> PushReply:
        time.sleep(2)
        return super().push(push, signature)


@pytest.fixture
def run_name(request):
    """A name of its own for each test, whose store is ended afterwards."""
    name = request.node.name.split("[")[0][-60:]
    yield name
    StoreClient(name).stop()


def local(folder: Path) -> Storage:
    return Storage(str(folder), StorageConfig())


def make_push(number: int, base_version: int = 0) -> Push:
    edge = EdgeUpdate(
        source="male", target="beard", strength=number / 1000, standard_error=0.1, num_observations=number
    )
    return Push(
        push_id=f"p{number}",
        base_version=base_version,
        kind=EvidenceKind.SCORES,
        edges=(edge,),
        evidence_id=f"e{number}.json",
    )


def kill(client: StoreClient) -> int:
    pid = client.describe().pid
    os.kill(pid, signal.SIGKILL)
    return pid


def test_killed_actor_comes_back_with_its_graph(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    for number in range(1, 8):
        assert client.push(make_push(number)).version == number
    digest = client.snapshot().digest()
    pid = kill(client)
    assert client.snapshot().digest() == digest
    assert client.describe().pid != pid
    assert client.push(make_push(7)).duplicate
    assert client.snapshot(newer_than=7) is None


def test_second_start_attaches(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    client.push(make_push(1))
    again = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    assert again.describe() == client.describe()
    assert connect_store(run_name).snapshot().version == 1


def test_start_with_other_settings_keeps_the_graph_and_takes_the_settings(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    client.push(make_push(900))
    start_store(local(tmp_path), run_name, ATTRIBUTES, replace(CONFIG, max_change=0.25))
    client.push(make_push(1))
    assert client.snapshot().strength[0, 1] == pytest.approx(0.65)


def test_relative_folder_is_that_of_the_driver(run_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    start_store(local(Path("runs/here")), run_name, ATTRIBUTES, CONFIG).push(make_push(1))
    assert (tmp_path / "runs" / "here" / "graph" / "journal-000000000000").stat().st_size > 0


def test_start_that_would_mix_two_runs_is_refused_and_harms_nothing(run_name, tmp_path):
    client = start_store(local(tmp_path / "a"), run_name, ATTRIBUTES, CONFIG)
    client.push(make_push(1))
    pid = client.describe().pid
    with pytest.raises(GraphError, match=r"attributes male, beard, bald, not male, bangs"):
        start_store(local(tmp_path / "a"), run_name, ("male", "bangs"), CONFIG)
    with pytest.raises(GraphError, match="choose another run.name"):
        start_store(local(tmp_path / "b"), run_name, ATTRIBUTES, CONFIG)
    assert client.describe().pid == pid
    assert client.snapshot().version == 1


def test_folder_held_by_another_store_is_refused(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    with pytest.raises(GraphError, match=f"held by process {client.describe().pid}"):
        start_store(local(tmp_path), f"{run_name[:50]}-2", ATTRIBUTES, CONFIG)


def test_resumed_run_with_other_attributes_is_refused_and_leaves_no_actor(run_name, tmp_path):
    start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG).stop()
    with pytest.raises(GraphError, match=r"of run '.*' in .* has the attributes male, beard, bald, not male, bangs"):
        start_store(local(tmp_path), run_name, ("male", "bangs"), CONFIG)
    assert StoreClient(run_name).find() is None


def test_damaged_journal_reaches_the_driver_as_a_graph_error(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    client.push(make_push(1))
    kill(client)
    journal = tmp_path / "graph" / "journal-000000000000"
    journal.write_bytes(journal.read_bytes().replace(b"male", b"mole"))
    with pytest.raises(GraphError, match=r"journal-000000000000 is damaged at byte 0"):
        client.snapshot()


def test_unknown_run_is_named():
    with pytest.raises(GraphError, match="no store of a run named 'nothing'"):
        connect_store("nothing")


def test_stopped_store_leaves_nothing_running(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    client.push(make_push(1))
    process = psutil.Process(client.describe().pid)
    client.stop()
    client.stop()
    process.wait(timeout=10)
    assert (tmp_path / "graph" / "snapshot-000000000001").exists()
    with pytest.raises(GraphError, match="did not answer snapshot within 0.2 s"):
        client.snapshot(deadline_s=0.2)


def test_call_to_a_hung_actor_ends_at_its_deadline_and_can_be_repeated(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    pid = client.describe().pid
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(GraphError, match=r"did not answer push within 1 s .* trying again is safe"):
            client.push(make_push(1), deadline_s=1)
        assert time.monotonic() - start < 2
    finally:
        os.kill(pid, signal.SIGCONT)
    assert client.push(make_push(1)).version == 1
    assert client.snapshot().version == 1


def test_reads_do_not_wait_for_a_write(run_name, tmp_path):
    ensure_key(local(tmp_path).child("graph"))
    launch(SlowStore, local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    client = StoreClient(run_name, local(tmp_path))
    assert client.snapshot(deadline_s=30).version == 0
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(client.push, make_push(1))
        time.sleep(0.3)
        start = time.monotonic()
        assert connect_store(run_name).snapshot(newer_than=0) is None
        assert time.monotonic() - start < 1
        assert not writing.done()
        assert writing.result().version == 1


def test_eight_writers_that_allow_no_staleness_never_share_a_version(run_name, tmp_path):
    config = replace(CONFIG, max_staleness=0)
    start_store(local(tmp_path), run_name, ATTRIBUTES, config)

    def write(writer: int) -> list[PushReply]:
        client = connect_store(run_name, local(tmp_path))
        replies = []
        for number in range(50):
            push = make_push(writer * 50 + number, client.snapshot().version)
            replies.append(client.push(replace(push, push_id=f"w{writer}-{number}")))
        return replies

    with ThreadPoolExecutor(8) as pool:
        replies = [reply for part in pool.map(write, range(8)) for reply in part]
    won = sorted(reply.version for reply in replies if reply.applied)
    lost = [reply for reply in replies if not reply.applied]
    assert won == list(range(1, len(won) + 1))
    assert len(won) + len(lost) == 400
    assert lost, "the writers never met: the test shows nothing"
    assert {reply.refusal for reply in lost} == {Refusal.STALE}
    assert connect_store(run_name).snapshot().version == len(won)


def test_client_works_from_inside_a_task(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    reply = ray.get(ray.remote(num_cpus=0)(lambda c: c.push(make_push(1))).remote(client))
    assert reply == PushReply(version=1, applied=True)


def test_history_evidence_diff_and_rollback_over_the_wire(run_name, tmp_path):
    client = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    for number in (1, 2, 3):
        client.push(make_push(number))
    assert [record.strength for record in client.history("male", "beard")] == [0.001, 0.002, 0.003]
    assert client.evidence("male", "beard") == ("e3.json", "e2.json", "e1.json")
    assert client.rollback(1).version == 4
    assert client.snapshot().strength[0, 1] == 0.001
    assert [change.strength_after for change in client.diff(3, 4)] == [0.001]
    with pytest.raises(GraphError, match="version 9 is not kept"):
        client.rollback(9)


def test_graph_in_s3_outlives_its_actor(run_name, s3_bucket):
    bucket, storage_config = s3_bucket
    storage = Storage(f"{bucket}/{run_name}", storage_config)
    client = start_store(storage, run_name, ATTRIBUTES, CONFIG)
    for number in range(1, 13):
        assert client.push(make_push(number)).version == number
    digest = client.snapshot().digest()
    kill(client)
    assert client.snapshot(deadline_s=30).digest() == digest
    assert client.push(make_push(12)).duplicate
    assert client.push(make_push(13)).version == 13
    assert len(client.history("male", "beard")) == 13
    names = storage.list("graph")
    assert [name for name in names if "snapshot" in name] == [f"graph/snapshot-{n:012d}" for n in (0, 5, 10)]
    assert len([name for name in names if "journal" in name]) == 13


def test_a_job_that_only_knows_the_name_of_a_run_cannot_change_its_graph(run_name, tmp_path):
    client = start_store(local(tmp_path / "run"), run_name, ATTRIBUTES, CONFIG)
    reader = connect_store(run_name)
    assert reader.snapshot().version == 0
    with pytest.raises(GraphError, match="can only read"):
        reader.push(make_push(1))
    stranger = local(tmp_path / "other")
    ensure_key(stranger.child("graph"))
    assert connect_store(run_name, stranger).push(make_push(1)).refusal is Refusal.UNAUTHORISED
    assert ray.get(reader.find().push.remote(make_push(1))).refusal is Refusal.UNAUTHORISED
    assert ray.get(reader.find().push.remote({"edges": "all"})).refusal is Refusal.MALFORMED
    assert ray.get(reader.find().rollback.remote("back", 0)).refusal is Refusal.UNAUTHORISED
    assert client.snapshot().version == 0
    assert connect_store(run_name, local(tmp_path / "run")).push(make_push(1)).applied  # control: with the key it is


def test_store_is_started_again_where_the_key_is_another(run_name, tmp_path):
    old = start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG)
    old.push(make_push(1))
    local(tmp_path).child("graph").delete("key")
    assert start_store(local(tmp_path), run_name, ATTRIBUTES, CONFIG).push(make_push(2)).version == 2
    assert old.push(make_push(3)).refusal is Refusal.UNAUTHORISED


def test_run_that_is_up_goes_back_through_its_store(run_name, tmp_path):
    run = local(tmp_path / run_name)
    client = start_store(run, run_name, ATTRIBUTES, CONFIG)
    for number in (1, 2):
        client.push(make_push(number, number - 1))
    config = GemConfig(run=RunConfig(uri=str(tmp_path), name=run_name))
    with run_lock(run):
        assert roll_back(config, run, 1).version == 3
    assert client.snapshot().digest() != client.at(2).digest()
    assert (client.snapshot().strength == client.at(1).strength).all()
