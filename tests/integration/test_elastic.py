"""Training on nodes that come and go: a head with one worker, and a second node, killed and added for real.

Run as a program this file is the driver of such a run, with a ledger of the records that every rank trains on.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch

from gem_ray.checkpoint import complete_steps
from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PlacementConfig,
    RunConfig,
    ScoringConfig,
    StorageConfig,
    TrainConfig,
)
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.drawn import DRAWN
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.data.order import Piece, lane_batch
from gem_ray.data.reading import read_piece
from gem_ray.data.shards import Manifest, ShardEntry, encode_shard, read_manifest, write_manifest
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.step import build_parts, step_on_lanes
from gem_ray.train.worker import lane_inputs

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
HEAD, NODES = "127.0.0.2", ("127.0.0.3", "127.0.0.4")
STEPS, EVERY, BATCH, HOLDOUT = 160, 8, 16, 64
PER_EPOCH = 16
LANES = 2
FACES = DRAWN["faces"]
NUM_IMAGES, SIZE = PER_EPOCH * BATCH + HOLDOUT, 32
PAUSE_S = {1: 1.5, 2: 0.05}  # of a step by the number of workers: alone it must not be done before it can grow


# ---- the driver


def drive(settings: dict[str, str]) -> None:
    """``jobs.train`` without a report, in a cluster of several raylets on one machine."""
    from gem_ray.train.ray_session import NAMESPACE, TRAIN_ENVIRONMENT

    # As on a cluster; without its actor of 400 MB for a page of the dashboard.
    os.environ.update(TRAIN_ENVIRONMENT | {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1"})
    import ray

    from gem_ray.train import trainer

    address = settings["address"]  # several Rays may be up on this machine, and Ray Train looks its controller up there
    ray.init(address=address, namespace=NAMESPACE, runtime_env={"env_vars": {"RAY_ADDRESS": address}})
    train = trainer.train_worker

    def train_with_ledger(loop: dict[str, str]) -> None:
        write_ledger(Path(settings["ledger"]))
        train(loop)

    trainer.train_worker = train_with_ledger
    config = config_from_json(settings["config"])
    trainer.reach_last_step(config, trainer.run_storage(config), Storage(config.data.uri, config.storage))


def write_ledger(folder: Path) -> None:
    """From here on this process writes down which records each of its lanes takes at each step."""
    import ray.train

    from gem_ray.train import worker

    open_loaders = worker.open_loaders
    world = ray.train.get_context().get_world_size()

    def opened(config, lanes, num_lanes):
        path = folder / f"{os.getpid()}.jsonl"

        def noted(loader, lane):
            batches = loader.batches

            def noting(start):
                for step, batch in enumerate(batches(start), start):
                    time.sleep(PAUSE_S[world] / len(lanes))
                    line = {"step": step, "lane": lane, "world": world, "ids": batch.index.tolist()}
                    with path.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    yield batch

            loader.batches = noting
            return loader

        return [noted(loader, lane) for loader, lane in zip(open_loaders(config, lanes, num_lanes), lanes)]

    worker.open_loaders = opened


# ---- the cluster

DRAIN = """
import sys, time
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2
address, host, left_s = sys.argv[1:]
client = GcsClient(address=address)
nodes = client.get_all_node_info(timeout=30).values()
nodes = [node for node in nodes if node.node_manager_address == host and node.state == 0]  # alive
reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
deadline = int(1000 * (time.time() + float(left_s)))
accepted, why = client.drain_node(nodes[0].node_id.hex(), reason, "the spot market", deadline)
assert accepted, why
"""


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def marked(mark: str) -> list[psutil.Process]:
    """Live processes that inherited a mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GEM_RAY_TEST_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill(mark: str) -> None:
    """End every process of a node at once, as the loss of its machine does."""
    for process in marked(mark):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    wait_until(lambda: not marked(mark), lambda: f"left: {marked(mark)}", 30)


def wait_until(condition: Callable[[], object], complaint: Callable[[], str], timeout_s: float) -> float:
    """Seconds until the condition held."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < timeout_s, complaint()
        time.sleep(0.1)
    return time.monotonic() - started


@dataclass
class Cluster:
    """Nodes of one CPU each: a head, which trains too, and what is added to it."""

    folder: Path
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    marks: dict[str, str] = field(default_factory=dict)  # by host
    starters: list[subprocess.Popen] = field(default_factory=list)
    address: str = ""
    temporary: str = ""

    def environment(self, mark: str) -> dict[str, str]:
        environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "GEM_RAY_TEST_MARK": mark,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RAY_gcs_server_port_wait_time_s": "60",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_enable_worker_prestart": "0",
        }
        environment.pop("RAY_ADDRESS", None)
        return environment

    def add(self, host: str, role: str = "train") -> None:
        """A node, tried anew where a busy machine gives Ray's processes less time than they need."""
        for attempt in range(3):
            log = self.folder / f"{host}-{attempt}-{time.time_ns()}.log"
            if self._starts(host, role, log):
                return
            kill(self.marks.pop(host))
        raise AssertionError(log.read_text()[-2000:])

    def _starts(self, host: str, role: str, log: Path) -> bool:
        mark = self.marks[host] = uuid.uuid4().hex
        options: dict[str, object] = {
            "node-ip-address": host,
            "dashboard-agent-listen-port": free_port(host),
            "num-cpus": 1,
            "labels": f"gem-ray/role={role}",
            "object-store-memory": 150_000_000,
        }
        if host == HEAD:
            port = free_port(HEAD)
            self.address = f"{HEAD}:{port}"
            self.temporary = f"/tmp/ge-{mark[:6]}"  # sockets lie in it, whose paths must be short
            options |= {"port": port, "include-dashboard": "false", "temp-dir": self.temporary}
            options |= {"ray-client-server-port": free_port(HEAD), "dashboard-host": HEAD}
            options |= {"dashboard-port": free_port(HEAD)}
        else:
            options["address"] = self.address
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        command += ["--head"] * (host == HEAD) + [f"--{name}={value}" for name, value in options.items()]
        with log.open("wb") as output:
            starter = subprocess.Popen(command, env=self.environment(mark), stdout=output, stderr=output)
        self.starters.append(starter)
        wait_until(lambda: starter.poll() is not None or "Ray runtime started" in log.read_text(), log.read_text, 120)
        return starter.poll() is None

    def lose(self, host: str) -> None:
        kill(self.marks.pop(host))

    def drain(self, host: str, left_s: float = 60.0) -> None:
        """The notice that a provider's daemon gives Ray."""
        arguments = [self.address, host, str(left_s)]
        subprocess.run([sys.executable, "-c", DRAIN, *arguments], env=self.environment(""), check=True, timeout=60)

    def keep_only(self, *hosts: str) -> None:
        """Bring the nodes beside the head to those."""
        for host in set(self.marks) - {HEAD, *hosts}:
            self.lose(host)
        for host in set(hosts) - set(self.marks):
            self.add(host)

    def hosts_of(self, actor: str) -> set[str]:
        """Hosts on which actors of a class live."""
        return {
            host
            for host, mark in self.marks.items()
            if any(f"ray::{actor}" in title(process) for process in marked(mark))
        }

    def train(self, config: GemConfig) -> Run:
        name = config.run.name
        ledger = self.folder / f"ledger-{name}"
        ledger.mkdir()
        settings = {"address": self.address, "config": config_to_json(config), "ledger": str(ledger)}
        log = self.folder / f"{name}.log"
        mark = uuid.uuid4().hex
        with log.open("wb") as output:
            driver = subprocess.Popen(
                [sys.executable, __file__, json.dumps(settings)],
                env=self.environment(mark),
                stdout=output,
                stderr=output,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        return Run(driver, mark, log, ledger, Storage(f"{config.run.uri}/{name}", config.storage))

    def end(self) -> None:
        for mark in self.marks.values():
            kill(mark)
        for starter in self.starters:
            starter.wait(timeout=30)
        shutil.rmtree(self.temporary, ignore_errors=True)


@dataclass
class Run:
    """A driver under way and what it leaves."""

    driver: subprocess.Popen
    mark: str
    log: Path
    ledger: Path
    storage: Storage

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def starts(self) -> list[dict]:
        return [line for line in read_metrics(self.storage) if line.get("event") == "started"]

    def world(self) -> int:
        """Workers of the last start; 0 before the first."""
        return next((start["world"] for start in reversed(self.starts())), 0)

    def losses(self) -> dict[int, float]:
        return {line["step"]: line["total"] for line in read_metrics(self.storage) if "event" not in line}

    def lines(self) -> list[dict]:
        """All whole lines of the ledger, with the process that wrote them."""
        return [
            json.loads(line) | {"pid": int(path.stem)}
            for path in self.ledger.iterdir()
            for line in path.read_text().splitlines()
            if line.endswith("}")
        ]

    def pids(self) -> set[int]:
        return {int(path.stem) for path in self.ledger.iterdir()}

    def step(self) -> int:
        """The furthest step that any worker has begun."""
        return max((line["step"] for line in self.lines()), default=-1)

    def wait_for(self, condition: Callable[[], object], timeout_s: float) -> float:
        def done() -> object:
            assert self.driver.poll() is None or condition(), self.said
            return condition()

        return wait_until(done, lambda: self.said, timeout_s)

    def finish(self, timeout_s: float = 240.0) -> None:
        try:
            assert self.driver.wait(timeout=timeout_s) == 0, self.said
        finally:
            kill(self.mark)

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.driver.send_signal(signal.SIGINT)
        try:
            self.driver.wait(timeout=60)
        finally:
            kill(self.mark)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_credentials: None) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("elastic"))
    write_faces(cluster.folder / "faces")
    cluster.add(HEAD)
    try:
        yield cluster
    finally:
        cluster.end()


def write_faces(folder: Path) -> None:
    """Drawn faces in four shards, as ``jobs.prepare`` makes them."""
    storage, entries = Storage(str(folder), StorageConfig()), []
    for number, rows in enumerate(np.array_split(np.arange(NUM_IMAGES), 4)):
        images, labels = zip(*(FACES.draw(3, int(row), SIZE) for row in rows), strict=True)
        data = encode_shard(np.stack(images), rows, np.stack(labels), FACES.factors)
        name = f"shards/{number:05d}.parquet"
        storage.write_bytes(name, data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(ShardEntry(name=name, count=len(rows), num_bytes=len(data), sha256=digest))
    manifest = Manifest(
        shape=(SIZE, SIZE, 3),
        shards=tuple(entries),
        source="faces",
        attributes=FACES.factors,
        seed=3,
        num_skipped=0,
        settings={},
    )
    write_manifest(storage, manifest)


def make_config(cluster: Cluster, name: str, **train: object) -> GemConfig:
    return GemConfig(
        run=RunConfig(uri=str(cluster.folder / "runs"), name=name),
        data=DataConfig(uri=str(cluster.folder / "faces"), batch_size=BATCH, holdout=HOLDOUT),
        model=ModelConfig(residual_dim=4),
        objective=ObjectiveConfig(align_weight=0.0),
        graph=GraphConfig(refresh_every_steps=2),
        train=TrainConfig(
            **{
                "steps": STEPS,
                "checkpoint_every_steps": EVERY,
                "log_every_steps": 1,
                "min_workers": 1,
                "grow_every_s": 1.0,
                "precision": "fp32",
                **train,
            }
        ),
        scoring=ScoringConfig(scorer="none"),
        placement=PlacementConfig(training="train"),
    )


def kept(run: Run) -> list[dict]:
    """Lines of the ledger that the final parameters stem from: a start undoes what others did from its step on."""
    starts = run.starts()
    ends = [start["step"] for start in starts[1:]] + [STEPS]
    lines = []
    for start, end in zip(starts, ends, strict=True):
        lines += [line for line in run.lines() if line["pid"] in start["pids"] and start["step"] <= line["step"] < end]
    return lines


def not_once_each(lines: list[dict]) -> dict[tuple[int, int], int]:
    """(epoch, record) -> times, for what was not trained on exactly once in its epoch."""
    counts = Counter((line["step"] // PER_EPOCH, record) for line in lines for record in line["ids"])
    everything = [(epoch, record) for epoch in range(STEPS // PER_EPOCH) for record in range(PER_EPOCH * BATCH)]
    return {key: counts[key] for key in {*everything, *counts} if counts[key] != 1}


def redone(run: Run) -> int:
    """Most steps that a start did again."""
    last = {pid: max(line["step"] for line in run.lines() if line["pid"] == pid) for pid in run.pids()}
    reached = [max(last.get(pid, -1) for pid in start["pids"]) + 1 for start in run.starts()]
    return max((end - after["step"] for end, after in zip(reached, run.starts()[1:], strict=False)), default=0)


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> dict[int, float]:
    """Loss by step where nothing ever happens: one process, without Ray, DDP or checkpoints."""
    config, device = make_config(cluster, "undisturbed"), torch.device("cpu")
    data = Storage(config.data.uri, config.storage)
    manifest = read_manifest(data)
    pieces = [Piece(number, 0, shard.count) for number, shard in enumerate(manifest.shards)]
    rows = rows_of([read_piece(pa.table({"id": range(len(pieces))}), data, manifest, pieces)], manifest)
    loaders = [
        MemoryLoader(
            rows, manifest.shape, num_train=NUM_IMAGES - HOLDOUT, batch_size=BATCH, seed=0, lane=lane, num_lanes=LANES
        )
        for lane in range(LANES)
    ]
    parts = build_parts(config, SIZE, device)
    feed = RelationFeed(without_scores(DisGraph.empty(tuple(config.model.attributes))), device, 2)
    losses = {}
    for step, batches in enumerate(islice(zip(*(loader.batches(0) for loader in loaders), strict=True), STEPS)):
        inputs = lane_inputs(config, parts, feed, loaders, batches, step, range(LANES))
        losses[step] = float(step_on_lanes(parts, inputs, 1 / LANES, config.objective)[0].total)
    return losses


@pytest.fixture(scope="module")
def elastic(cluster: Cluster) -> Run:
    """Two workers, then one when a node is lost, then two again when another one comes."""
    cluster.keep_only(NODES[0])
    run = cluster.train(make_config(cluster, "elastic"))
    run.wait_for(lambda: run.step() >= 2 * EVERY + 3, 240)
    cluster.lose(NODES[0])
    back_s = run.wait_for(lambda: run.world() == 1, 240)
    assert cluster.hosts_of("RayTrainWorker") == {HEAD}
    cluster.add(NODES[1])
    grown_s = run.wait_for(lambda: run.world() == 2, 240)
    run.finish()
    print(f"back with one worker {back_s:.1f} s after the loss, with two {grown_s:.1f} s after there was a node")
    return run


def test_a_lost_node_costs_two_checkpoint_intervals_at_most_and_a_new_one_is_taken_in(elastic: Run):
    assert [start["world"] for start in elastic.starts()] == [2, 1, 2]
    assert 0 <= redone(elastic) <= 2 * EVERY


def test_every_record_is_trained_on_once_an_epoch_whatever_the_number_of_workers(elastic: Run):
    assert not_once_each(kept(elastic)) == {}


def test_the_ledger_finds_a_record_that_is_planted_twice_and_an_order_that_hangs_on_the_number_of_workers(elastic: Run):
    lines = kept(elastic)
    twice = [lines[0] | {"ids": [lines[0]["ids"][1], *lines[0]["ids"][1:]]}, *lines[1:]]
    assert set(not_once_each(twice)) == {(0, lines[0]["ids"][0]), (0, lines[0]["ids"][1])}

    def by_world(line: dict) -> dict:
        epoch, step = divmod(line["step"], PER_EPOCH)
        order = np.random.default_rng((0, epoch, line["world"])).permutation(PER_EPOCH * BATCH)
        return line | {"ids": lane_batch(order, step, BATCH, line["lane"], LANES).tolist()}

    assert not_once_each([by_world(line) for line in lines])


def test_the_loss_goes_on_as_if_nothing_had_happened(undisturbed: dict[int, float], elastic: Run):
    found = elastic.losses()
    assert sorted(found) == list(range(STEPS))
    print(f"largest relative difference {max(abs(found[step] / loss - 1) for step, loss in undisturbed.items()):.1e}")
    assert found == pytest.approx(undisturbed, rel=1e-5)
    shifted = {step: undisturbed[max(0, step - 1)] for step in found}  # as if a step had been done twice
    assert found != pytest.approx(shifted, rel=1e-5)


def test_store_and_workers_lie_on_the_nodes_of_their_roles(cluster: Cluster, s3_bucket):
    uri, storage = s3_bucket
    cluster.keep_only()
    cluster.add(NODES[1], role="stable")
    config = make_config(cluster, "placed", steps=10 * STEPS)
    config.run.uri, config.storage = uri, storage
    config.placement.coordinators = "stable"
    run = cluster.train(config)
    run.wait_for(lambda: run.step() >= 2, 240)
    assert cluster.hosts_of("GraphStore") == {NODES[1]}, "without its role it would be with the driver"
    assert cluster.hosts_of("RayTrainWorker") == {HEAD}, "without their role they would be two"
    run.stop()


def test_a_notice_costs_no_step(cluster: Cluster):
    cluster.keep_only(NODES[0])
    never = 10 * STEPS  # but at the end: what is there before is what the notice brought
    run = cluster.train(make_config(cluster, "noticed", checkpoint_every_steps=never))
    run.wait_for(lambda: run.step() >= 2 * EVERY + 3, 120)
    cluster.drain(NODES[0])
    noticed_s = run.wait_for(lambda: len(complete_steps(run.storage)) > 0, 60)
    back_s = run.wait_for(lambda: run.world() == 1, 120)
    saved = run.starts()[-1]["step"]
    cluster.lose(NODES[0])
    run.wait_for(lambda: run.step() >= saved + EVERY, 60)
    print(f"a checkpoint {noticed_s:.1f} s after the notice, training again {back_s:.1f} s later")
    assert redone(run) == 0
    run.stop()


def test_a_worker_that_hangs_is_found_in_half_a_minute(cluster: Cluster):
    cluster.keep_only(NODES[0])
    run = cluster.train(make_config(cluster, "hanging"))
    run.wait_for(lambda: run.step() >= 2 * EVERY + 3, 120)
    hanging = psutil.Process(run.starts()[0]["pids"][1])
    hanging.suspend()
    found_s = run.wait_for(lambda: not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE, 90)
    run.wait_for(lambda: len(run.starts()) > 1, 120)
    print(f"ended after {found_s:.1f} s")
    assert found_s < 30
    run.stop()


if __name__ == "__main__":
    drive(json.loads(sys.argv[1]))
