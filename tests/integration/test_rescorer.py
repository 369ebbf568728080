"""The MLLM in Ray Serve, the rescorer and the graph's store together, and what happens when one of them dies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from ray import serve

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, GemConfig, ModelConfig, RunConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES, face, true_strength
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import ScorerError
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.questions import ScoreRequest
from gem_ray.messages.rescorer import RescorerStatus
from gem_ray.models.gem import Gem
from gem_ray.scoring.rescoring.rescorer_client import rescorer_status
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.scoring.serving.application import app_name, start_scorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.scoring.serving.service import scoring_service
from gem_ray.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(900)]
NUM_FACES, SEED, SIDE = 3_000, 31, 64


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GemConfig:
    folder = tmp_path_factory.mktemp("rescoring")
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=f"rescoring-{os.getpid()}"),
        data=DataConfig(uri=str(folder / "faces"), holdout=100),
        model=ModelConfig(residual_dim=4),
        scoring=ScoringConfig(initial_images=192, round_images=64, round_every_s=0.5, traversal_images=2),
    )


@pytest.fixture(scope="module")
def run(config: GemConfig) -> Storage:
    return Storage(f"{config.run.uri}/{config.run.name}", config.storage)


@pytest.fixture(scope="module")
def data(config: GemConfig) -> Storage:
    storage = Storage(config.data.uri, config.storage)
    faces = [face(SEED, index, SIDE) for index in range(NUM_FACES)]
    images, attributes = np.stack([image for image, _ in faces]), np.stack([values for _, values in faces])
    shard = encode_shard(images, np.arange(NUM_FACES), attributes, ATTRIBUTES)
    storage.write_bytes("shard.parquet", shard)
    entry = ShardEntry(
        name="shard.parquet", count=NUM_FACES, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest()
    )
    manifest = Manifest(
        shape=(SIDE, SIDE, 3),
        shards=(entry,),
        source="faces",
        attributes=ATTRIBUTES,
        seed=SEED,
        num_skipped=0,
        settings={},
    )
    write_manifest(storage, manifest)
    return storage


@pytest.fixture(scope="module")
def store(ray_4_cpus: None, config: GemConfig, run: Storage, data: Storage) -> Iterator[StoreClient]:
    """A store with the scoring service beside it."""
    client = start_store(run, config.run.name, ATTRIBUTES, config.graph)
    with scoring_service(config, run, data):
        wait_until(lambda: rescorer_status(config.run.name, 10.0) is not None, "the MLLM answers")
        yield client
    assert rescorer_status(config.run.name, 5.0) is None
    assert app_name(config.run.name) not in serve.status().applications
    client.stop()
    wait_until(lambda: not engines(), "vLLM's engine has ended")
    serve.shutdown()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 240.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.1)


def processes(name: str) -> list[psutil.Process]:
    """Processes below this test's own Ray whose title holds the name."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if process.is_running() and name in " ".join(_title(process))]


def engines() -> list[psutil.Process]:
    """vLLM's engines, by the title they give themselves or, where that did not take, by how they were started."""
    return processes("EngineCore") or processes("spawn_main")


def _title(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.NoSuchProcess:
        return []


def status(config: GemConfig) -> RescorerStatus | None:
    return rescorer_status(config.run.name, 10.0)


def test_a_model_that_vllm_cannot_load_ends_what_goes_on_beside_it(
    ray_4_cpus: None, config: GemConfig, run: Storage, data: Storage, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["NoSuchModel"]}')
    broken = replace(
        config,
        run=replace(config.run, name=f"{config.run.name}-broken"),
        scoring=replace(config.scoring, model=str(tmp_path)),
    )
    began = time.monotonic()
    with pytest.raises(ScorerError, match="cannot be served"), scoring_service(broken, run, data):
        time.sleep(240)  # as training, which knows nothing of it
    assert time.monotonic() - began < 200
    assert app_name(broken.run.name) not in serve.status().applications
    assert rescorer_status(broken.run.name, 5.0) is None


def test_the_graph_comes_close_to_the_true_relations(config: GemConfig, run: Storage, store: StoreClient) -> None:
    def scanned() -> bool:
        graph = store.snapshot()
        return graph is not None and graph.scores is not None and graph.scores.num_images >= 192

    wait_until(scanned, "the initial scan has been pushed")
    graph = store.snapshot()
    assert graph is not None
    assert graph.scores is not None
    others = ~np.eye(6, dtype=bool)
    assert np.abs(graph.strength - true_strength())[others].mean() < 0.1
    assert np.median(graph.standard_error[others]) < 0.1
    table = read_scores(run, graph.scores)
    assert table.num_missing == 0
    assert table.digit_mass.mean() > 0.95
    evidence = json.loads(run.read_bytes(f"evidence/{store.evidence('male', 'beard')[0]}"))
    assert evidence["kind"] == "scores"
    assert evidence["model"].startswith("nano-")


def test_a_new_checkpoint_is_looked_at_and_an_untrained_one_shows_no_relation(
    config: GemConfig, run: Storage, store: StoreClient
) -> None:
    graph = store.snapshot()
    assert graph is not None
    model = Gem(config.model, SIDE)
    checkpoint = Checkpoint(
        step=7,
        model={f"gem.{name}": value for name, value in model.state_dict().items()},
        graph_json=graph.to_json(),
        state={"config": config_to_json(config), "image_size": SIDE},
    )
    save_checkpoint(run, checkpoint, keep=2)

    def looks(kind: str) -> list[str]:
        return [name for name in run.list("evidence") if name.startswith(f"evidence/{kind}-000000007-")]

    wait_until(lambda: bool(looks("samples") and looks("traversals")), "step 7 has been looked at")
    evidence = json.loads(run.read_bytes(looks("traversals")[0]))
    assert np.array(evidence["expectations"], dtype=float).shape == (6, 2, 5, 6)
    assert evidence["cost"]["asked"] + evidence["cost"]["stored"] > 0
    graph = store.snapshot()
    assert graph is not None
    assert np.isnan(graph.shown).all()  # a node that does not move its own attribute says nothing of others


def test_a_killed_replica_is_replaced_and_rescoring_goes_on(config: GemConfig, store: StoreClient) -> None:
    (replica,) = processes(f"ServeReplica:{app_name(config.run.name)}")
    engine_processes = engines()
    assert engine_processes, [_title(process) for process in replica.children(recursive=True)]
    before = status(config)
    assert before is not None
    os.kill(replica.pid, signal.SIGKILL)
    waited = []

    def resumed() -> bool:
        now = status(config)
        assert now is not None
        waited.append(now.phase == "waiting" and now.last_error != "")
        return any(waited) and now.phase == "rounds" and now.images_scored > before.images_scored + 64

    wait_until(resumed, "the replica has been replaced", timeout_s=400.0)
    assert not [engine for engine in engine_processes if engine.is_running() and _title(engine)]
    after = status(config)
    assert after is not None
    assert after.missing == 0


def test_a_killed_rescorer_goes_on_by_itself_and_asks_nothing_again(
    config: GemConfig, run: Storage, store: StoreClient
) -> None:
    before = status(config)
    assert before is not None
    (actor,) = processes("ray::Rescorer")
    os.kill(actor.pid, signal.SIGKILL)

    def resumed() -> bool:
        now = status(config)
        return now is not None and now.phase == "rounds" and now.images_scored >= before.images_scored + 64

    wait_until(resumed, "the rescorer has been restarted")
    graph = store.snapshot()
    assert graph is not None
    assert graph.scores is not None
    table = read_scores(run, graph.scores)
    assert table.index.tolist() == list(range(len(table.index)))
    now = status(config)
    assert now is not None
    # Its count starts at the restart: fewer questions than the images of the table have in all.
    assert now.asked < now.images_scored * 6


def test_questions_per_second_through_serve(config: GemConfig, store: StoreClient) -> None:
    """Not a benchmark: the figure is printed, and only an answer that takes most of a second fails."""
    images = [face(SEED + 1, index, SIDE)[0].tobytes() for index in range(64)]
    requests = [
        ScoreRequest(image=image, height=SIDE, width=SIDE, attribute=name) for image in images for name in ATTRIBUTES
    ]
    scorer = ServeScorer(app_name(config.run.name), 60.0)

    async def ask() -> float:
        began = time.monotonic()
        await asyncio.gather(*(scorer.score(requests[start : start + 48]) for start in range(0, len(requests), 48)))
        return len(requests) / (time.monotonic() - began)

    rate = asyncio.run(ask())
    print(f"{rate:.0f} questions/s through Serve")
    assert rate > 2


def test_an_application_that_is_not_there_is_an_error_with_its_name(ray_4_cpus: None) -> None:
    request = ScoreRequest(image=bytes(12), height=2, width=2, attribute="male")
    with pytest.raises(ScorerError, match="'nobody'"):
        asyncio.run(ServeScorer("nobody", 5.0).score([request]))


def test_a_model_that_does_not_exist_is_refused_before_anything_is_deployed(ray_4_cpus: None) -> None:
    began = time.monotonic()
    with pytest.raises(ScorerError, match=r"scoring\.model='/nowhere' does not exist .*give 'nano'"):
        start_scorer(ScoringConfig(model="/nowhere"), "nowhere")
    assert time.monotonic() - began < 5.0
