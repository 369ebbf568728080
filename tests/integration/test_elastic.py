"""Training on nodes that come and go: a head with one worker, and a second node, killed and added for real."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from gem_ray.config_json import config_to_json
from gem_ray.data.drawn import DRAWN
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.memory import MemoryLoader, rows_of
from gem_ray.data.order import Piece, lane_batch
from gem_ray.data.reading import read_piece
from gem_ray.data.shards import encode_shard
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.step import build_parts, step_on_lanes
from gem_ray.train.worker import lane_inputs
from kit.marks import end_marked
from kit.raylets import HEAD, NODES, Cluster
from kit.waiting import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
DRIVER = Path(__file__).with_name("elastic_driver.py")
STEPS, EVERY, BATCH, HOLDOUT = 160, 8, 16, 64
PER_EPOCH = 16
LANES = 2
FACES = DRAWN["faces"]
NUM_IMAGES, SIZE = PER_EPOCH * BATCH + HOLDOUT, 32


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
            end_marked(self.mark)

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.driver.send_signal(signal.SIGINT)
        try:
            self.driver.wait(timeout=60)
        finally:
            end_marked(self.mark)


def train(cluster: Cluster, config: GemConfig) -> Run:
    name = config.run.name
    ledger = cluster.folder / f"ledger-{name}"
    ledger.mkdir()
    settings = {"address": cluster.address, "config": config_to_json(config), "ledger": str(ledger)}
    log = cluster.folder / f"{name}.log"
    driver, mark = cluster.start_driver(DRIVER, json.dumps(settings), log)
    return Run(driver, mark, log, ledger, Storage(f"{config.run.uri}/{name}", config.storage))


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
    run = train(cluster, make_config(cluster, "elastic"))
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
    assert found == undisturbed
    shifted = {step: undisturbed[max(0, step - 1)] for step in found}  # as if a step had been done twice
    assert found != shifted


def test_store_and_workers_lie_on_the_nodes_of_their_roles(cluster: Cluster, s3_bucket):
    uri, storage = s3_bucket
    cluster.keep_only()
    cluster.add(NODES[1], role="stable")
    config = make_config(cluster, "placed", steps=10 * STEPS)
    config.run.uri, config.storage = uri, storage
    config.placement.coordinators = "stable"
    run = train(cluster, config)
    run.wait_for(lambda: run.step() >= 2, 240)
    assert cluster.hosts_of("GraphStore") == {NODES[1]}, "without its role it would be with the driver"
    assert cluster.hosts_of("RayTrainWorker") == {HEAD}, "without their role they would be two"
    run.stop()


def test_a_notice_costs_no_step(cluster: Cluster):
    cluster.keep_only(NODES[0])
    never = 10 * STEPS  # but at the end: what is there before is what the notice brought
    run = train(cluster, make_config(cluster, "noticed", checkpoint_every_steps=never))
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
    run = train(cluster, make_config(cluster, "hanging"))
    run.wait_for(lambda: run.step() >= 2 * EVERY + 3, 120)
    hanging = psutil.Process(run.starts()[0]["pids"][1])
    hanging.suspend()
    found_s = run.wait_for(lambda: not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE, 90)
    run.wait_for(lambda: len(run.starts()) > 1, 120)
    print(f"ended after {found_s:.1f} s")
    assert found_s < 30
    run.stop()
