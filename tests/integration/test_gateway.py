"""The gateway as a person starts it, before a real store and the nano MLLM in Serve; and a change of that MLLM."""

from __future__ import annotations

import hashlib
import io
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import httpx2
import numpy as np
import pytest
import ray
from PIL import Image
from ray import serve

from gem_ray.config import DataConfig, GemConfig, RunConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.graph.store import StoreClient, start_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.scoring.asking.model_files import NANO_FOLDER, model_fingerprint
from gem_ray.scoring.serving.application import change_mllm, start_scorer, stop_scorer
from gem_ray.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.timeout(600)]
SIDE, SEED = 64, 990_005
END = "-- end of output --"


@dataclass
class Up:
    """A run that is up, with its gateway."""

    config: GemConfig
    store: StoreClient
    client: httpx2.Client
    process: subprocess.Popen[str]
    lines: queue.Queue[str]


def write_data(data: Storage) -> None:
    """A data set of two faces: the gateway wants to know their size."""
    drawn = [face(SEED, index, SIDE) for index in range(2)]
    images, attributes = np.stack([image for image, _ in drawn]), np.stack([values for _, values in drawn])
    shard = encode_shard(images, np.arange(2), attributes, ATTRIBUTES)
    data.write_bytes("shard.parquet", shard)
    entry = ShardEntry(name="shard.parquet", count=2, num_bytes=len(shard), sha256=hashlib.sha256(shard).hexdigest())
    shape = (SIDE, SIDE, 3)
    write_manifest(
        data,
        Manifest(
            shape=shape, shards=(entry,), source="faces", attributes=ATTRIBUTES, seed=0, num_skipped=0, settings={}
        ),
    )


@pytest.fixture(scope="module")
def up(ray_4_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("gateway")
    config = GemConfig(
        run=RunConfig(
            uri=str(folder / "runs"), name=f"gateway-{os.getpid()}", address=ray.get_runtime_context().gcs_address
        ),
        data=DataConfig(uri=str(folder / "faces")),
    )
    write_data(Storage(config.data.uri, config.storage))
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    run.write_bytes("config.json", config_to_json(config).encode())
    store = start_store(run, config.run.name, ATTRIBUTES, config.graph)
    start_scorer(config.scoring, config.run.name)
    options = [f"run.{name}={getattr(config.run, name)}" for name in ("uri", "name", "address")]
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.gateway", *options, "gateway.port=0", f"gateway.token_file={folder / 'token'}"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    threading.Thread(target=lambda: [lines.put(line) for line in chain(process.stdout, [END])], daemon=True).start()
    try:
        said = ""
        while "openapi" not in said:
            said += lines.get(timeout=120)
            assert END not in said, said
        url = said.split("listens on ")[1].split(";")[0]
        token = (folder / "token").read_text().strip()
        assert token not in said
        with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            yield Up(config, store, client, process, lines)
    finally:
        process.terminate()
        process.wait(30)
        stop_scorer(config.run.name)
        store.stop()
        serve.shutdown()


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(face(SEED, index, SIDE)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def test_faces_are_scored_as_they_were_drawn(up: Up) -> None:
    for index in range(3):
        response = up.client.post("/score", files={"image": png(index)})
        assert response.status_code == 200, response.text
        scores = [entry["score"] for entry in response.json()["scores"]]
        np.testing.assert_allclose(scores, 5 * face(SEED, index, SIDE)[1], atol=1.2)
        assert response.json()["model"] == model_fingerprint("nano")


def test_relations_of_faces_and_of_the_graph_are_told_with_history(up: Up) -> None:
    files = [("image", png(index)) for index in range(24)]
    response = up.client.post("/relations", files=files, data={"attributes": ["male", "beard"]})
    table = response.json()
    assert (response.status_code, table["num_images"], table["missing"]) == (200, 24, 0)
    forth, back = (entry["strength"] for entry in table["relations"])
    assert back > forth > 0  # a beard says "male" more surely than "male" says a beard
    edge = EdgeUpdate(source="male", target="beard", strength=0.4, standard_error=0.1, num_observations=24)
    push = Push(push_id="1", base_version=0, kind=EvidenceKind.SCORES, edges=(edge,), evidence_id="none.json")
    assert up.store.push(push).applied
    assert up.client.get("/graph").json()["version"] == 1
    assert up.client.get("/graph", params={"version": 0}).json()["strength"][2][3] == 0
    told = up.client.get("/graph/edges/male/beard").json()
    assert [change["strength"] for change in told["history"]] == [0.4]
    assert up.client.get("/graph", params={"version": 5}).status_code == 404
    assert up.client.get("/healthz").json() == {"status": "ok", "graph": True, "scorer": True}


@pytest.mark.slow
def test_a_change_of_the_mllm_shows_callers_no_error_and_the_new_name(up: Up, tmp_path: Path) -> None:
    other = Path(shutil.copytree(NANO_FOLDER, tmp_path / "other"))
    card = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(card | {"note": "another fingerprint"}))
    before, after = model_fingerprint("nano"), model_fingerprint(str(other))
    assert before != after
    got: list[tuple[int, str]] = []
    done = threading.Event()

    def ask() -> None:
        image = png(1)
        while not done.is_set():
            response = up.client.post("/score", files={"image": image})
            got.append((response.status_code, response.json().get("model", response.text)))
            time.sleep(0.5)  # within the rate that the gateway allows

    asking = threading.Thread(target=ask)
    asking.start()
    change_mllm(ScoringConfig(model=str(other)), up.config.run.name)
    time.sleep(1.5)
    done.set()
    asking.join(60)
    assert {status for status, _ in got} == {200}
    models = [model for _, model in got]
    assert models == sorted(models, key=(before, after).index)
    assert set(models) == {before, after}


def test_an_mllm_that_is_gone_is_503_and_ctrl_c_ends_the_gateway_alone(up: Up) -> None:
    stop_scorer(up.config.run.name)
    response = up.client.post("/score", files={"image": png(1)})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "scorer_absent")
    assert int(response.headers["retry-after"]) > 0
    assert up.client.get("/graph").status_code == 200
    health = up.client.get("/healthz")
    assert (health.status_code, health.json()["scorer"]) == (503, False)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    said = list(iter(lambda: up.lines.get(timeout=5), END))
    assert "the gateway has ended" in said[-1], "".join(said)
    assert "Traceback" not in "".join(said)
    assert up.store.describe().version == 1
