"""No secret of the environment reaches what a run leaves or shows: canary keys go in, and everything is searched.

Searched are the output of every job (errors made on purpose among it), Ray's session folder with all its logs, what the
metrics endpoints and the dashboard answer, command lines, and every object of the bucket: data, configuration, journal,
evidence, checkpoints, metrics, report.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
CANARIES = {
    "AWS_ACCESS_KEY_ID": "AKIACANARY7Q2WMZ4X6B",
    "AWS_SECRET_ACCESS_KEY": "canary/Secret+9fK2vQ7xLmN4pRtY8wZ1aB3cD5eF6gH0",
    "AWS_SESSION_TOKEN": "canarySessionToken5uVbN8mQwErTyUiOpAsDfGh",
    "GEM_RAY_TOKEN": "canary-gateway-token-3hJkL9zXcVbNm1qWeRtY",
    "HF_TOKEN": "hf_canaryTokenP0oI9uY8tR7eW6qAsDfGhJk",
    "RAY_REDIS_PASSWORD": "canary-redis-password-Zx8Cv7Bn6Mq5",
}
RAYS_TOKEN = "canary-ray-token-7Gh5Jk3Lm1Np9Qs2"  # in a file, as Ray wants it
STEPS = 40
PAGES = (
    "api/jobs/",
    "nodes?view=summary",
    "nodes?view=hostnamelist",
    "api/v0/actors?detail=1",
    "api/v0/workers?detail=1",
    "api/v0/tasks?detail=1",
    "api/v0/runtime_envs?detail=1",
    "api/cluster_metadata",
    "api/serve/applications/",
)
KINDS = {  # of processes, by what their command lines hold
    "driver": b"jobs.train",
    "raylet": b"raylet/raylet",
    "worker": b"ray::RayTrainWorker",
    "store": b"ray::GraphStore",
    "replica": b"ray::ServeReplica",
}
SEARCHED = (
    "runs/canary/config.json",
    "/state.json",
    "model.safetensors",
    "optimizer.safetensors",
    "runs/canary/graph/",
    "runs/canary/evidence/",
    "runs/canary/report.html",
    "runs/canary/metrics.jsonl",
    "evaluation.json",
    "faces/manifest.json",
    "faces/shards/",
    "logs/gcs_server.out",
    "logs/raylet.out",
    "logs/worker-",
    "logs/dashboard_agent",
    "logs/serve/replica_",
    "command line",
)


def spellings() -> dict[str, bytes]:
    """Every canary as it is, in base64, and as it stands in a URL or in JSON."""
    found = {}
    for name, secret in {**CANARIES, "Ray's token": RAYS_TOKEN}.items():
        found[name] = secret.encode()
        found[f"{name} in base64"] = base64.b64encode(secret.encode()).rstrip(b"=")[:-1]  # the last one may differ
        found[f"{name} in a URL"] = urllib.parse.quote(secret, safe="").encode()
    return found


def hits(places: dict[str, bytes]) -> list[tuple[str, str]]:
    """(place, which canary) of all that is found."""
    return [
        (place, name) for place, content in places.items() for name, secret in spellings().items() if secret in content
    ]


@dataclass
class Pipeline:
    """What the pipeline left: contents by place, and what each job ended with."""

    places: dict[str, bytes] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    ray_pages: set[str] = field(default_factory=set)
    processes: dict[str, set[int]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """Ids of those that had the canaries in their environment, by kind."""


def job(pipeline: Pipeline, name: str, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, timeout=400, check=False
    )
    pipeline.codes[name] = done.returncode
    pipeline.places |= {f"stdout of {name}": done.stdout, f"stderr of {name}": done.stderr}


@pytest.fixture(scope="module")
def pipeline(s3_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Draw, train with labels and with the MLLM, report, evaluate, and fail in three ways, all with the canaries."""
    folder = tmp_path_factory.mktemp("pipeline")
    temporary = Path("/tmp", f"gs-{os.getpid()}")  # short: Ray's sockets are in it
    temporary.mkdir()
    token = folder / "ray-token"
    token.write_text(RAYS_TOKEN)
    token.chmod(0o600)
    environment = os.environ | CANARIES | {
        "AWS_DEFAULT_REGION": "us-east-1",
        "RAY_TMPDIR": str(temporary),
        "RAY_AUTH_TOKEN_PATH": str(token),
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    client = boto3.client(
        "s3", endpoint_url=s3_url, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    bucket = "canaries"
    client.create_bucket(Bucket=bucket)
    stored = [f"run.uri=s3://{bucket}/runs", "run.name=canary", f"storage.endpoint_url={s3_url}"]
    trained = [
        f"data.uri=s3://{bucket}/faces",
        "run.log_format=json",
        "prepare.num_images=400",
        "prepare.image_size=32",
        "data.batch_size=16",
        "data.holdout=64",
        f"train.steps={STEPS}",
        "train.checkpoint_every_steps=20",
        "train.log_every_steps=2",
        "train.log_every_s=0.1",
    ]
    quick = ["evaluate.num_images=64", "evaluate.sample_images=50", "evaluate.metrics=[mig,tad]"]
    found = Pipeline()
    ended = threading.Event()
    watching = threading.Thread(target=watch, args=(found, temporary / "ray", ended))
    watching.start()
    try:
        job(found, "train", ["-m", "jobs.train", *stored, *trained, "scoring.scorer=labels"], environment, folder)
        asking = [f"train.steps={2 * STEPS}", "scoring.initial_images=64", "scoring.round_every_s=600"]
        job(found, "ask the MLLM", ["-m", "jobs.train", *stored, *trained, *asking], environment, folder)
    finally:
        ended.set()
        watching.join()
    job(found, "report", ["-m", "jobs.report", *stored], environment, folder)
    job(found, "evaluate", ["-m", "jobs.evaluate", *stored, *quick], environment, folder)
    nowhere = ["storage.endpoint_url=http://127.0.0.1:9", "storage.attempts=1"]
    job(found, "wrong endpoint", ["-m", "jobs.report", *stored[:2], *nowhere], environment, folder)
    job(
        found,
        "wrong bucket",
        ["-m", "jobs.report", "run.uri=s3://no-such-bucket/runs", *stored[1:]],
        environment,
        folder,
    )
    job(found, "interpolation", ["-m", "jobs.train", "run.name='${oc.env:AWS_SECRET_ACCESS_KEY}'"], environment, folder)
    found.places |= {f"file {path}": path.read_bytes() for path in temporary.rglob("*") if path.is_file()}
    for entry in client.get_paginator("list_objects_v2").paginate(Bucket=bucket).search("Contents"):
        found.places[f"object {entry['Key']}"] = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    yield found
    shutil.rmtree(temporary)


def watch(found: Pipeline, temporary: Path, ended: threading.Event) -> None:
    """Keep what the metrics endpoints, the dashboard and command lines show while the job goes on."""
    while not ended.wait(1.0):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if CANARIES["HF_TOKEN"].encode() in (process / "environ").read_bytes():
                    title = (process / "cmdline").read_bytes()
                    found.places[f"command line {process.name}"] = title
                    for kind in (kind for kind, part in KINDS.items() if part in title):
                        found.processes[kind].add(int(process.name))
            except (FileNotFoundError, PermissionError, ProcessLookupError):
                continue
        discovery = temporary / "prom_metrics_service_discovery.json"
        if not discovery.exists():
            continue
        authorization = {"Authorization": f"Bearer {RAYS_TOKEN}"}
        metrics = [f"http://{target}/metrics" for target in json.loads(discovery.read_text())[0]["targets"]]
        for url in (*metrics, *dashboard_pages(temporary)):
            try:
                page = urllib.request.urlopen(urllib.request.Request(url, headers=authorization), timeout=5).read()
            except (urllib.error.URLError, OSError):
                continue
            found.ray_pages.add(urllib.parse.urlsplit(url).path)
            found.places[f"page {url}"] = found.places.get(f"page {url}", b"") + page


def dashboard_pages(temporary: Path) -> list[str]:
    """The dashboard's own address is in its log."""
    for log in temporary.glob("session_2*/logs/dashboard.log"):
        for line in log.read_text(errors="replace").splitlines():
            if "Dashboard head http address:" in line:
                address = line.rsplit(" ", 1)[1].strip()
                return [f"http://{address}/{page}" for page in PAGES]
    return []


def test_the_jobs_end_as_they_should_and_errors_say_why(pipeline):
    ends = {"wrong endpoint": 2, "wrong bucket": 2, "interpolation": 2}
    assert pipeline.codes == {"train": 0, "ask the MLLM": 0, "report": 0, "evaluate": 0} | ends, {
        name: text[-2000:] for name, text in pipeline.places.items() if name.startswith("std")
    }
    assert b"http://127.0.0.1:9" in pipeline.places["stderr of wrong endpoint"]
    assert b"no such bucket" in pipeline.places["stderr of wrong bucket"]


def test_no_canary_is_anywhere(pipeline):
    assert hits(pipeline.places) == []


def test_the_key_of_the_runs_graph_is_in_its_own_object_and_nowhere_else(pipeline):
    place = "object runs/canary/graph/key"
    key = pipeline.places[place].strip()
    assert len(key) == 64
    assert [name for name, content in pipeline.places.items() if key in content] == [place]


def test_everything_was_searched(pipeline):
    counts = {kind: len(pids) for kind, pids in pipeline.processes.items()}
    assert counts["driver"] >= 2, f"the canaries did not reach both drivers: {counts}"
    assert counts["worker"] >= 4, f"the canaries did not reach the workers of both runs: {counts}"
    assert min(counts.values()) >= 1, f"the canaries did not reach all processes: {counts}"
    names = "\n".join(pipeline.places)
    assert [part for part in SEARCHED if part not in names] == []
    assert {"/metrics", "/api/jobs/", "/nodes", "/api/v0/actors", "/api/v0/runtime_envs"} <= pipeline.ray_pages
    scraped = b"".join(content for place, content in pipeline.places.items() if place.endswith("/metrics"))
    assert b"ray_gem_train_step" in scraped


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_that_is_planted_is_found_however_it_is_spelled(pipeline, name):
    secret = CANARIES[name]
    planted = {
        "log": b"before " + secret.encode() + b" after",
        "base64": base64.b64encode(secret.encode()),
        "url": f"http://host/?key={urllib.parse.quote(secret, safe='')}".encode(),
    }
    assert {place for place, _ in hits({**pipeline.places, **planted})} == planted.keys()


def test_with_json_every_line_of_the_terminal_is_an_object_and_progress_says_where_the_run_is(pipeline):
    lines = [json.loads(line) for line in pipeline.places["stdout of train"].decode().splitlines()]
    progress = [line for line in lines if "images_per_s" in line]
    assert len(progress) > 3
    assert all((line["run"], line["rank"], line["level"]) == ("canary", 0, "INFO") for line in progress)
    steps = [line["step"] for line in progress]
    assert steps == sorted(steps)
    assert steps[-1] == STEPS
    assert progress[-1]["graph_version"] >= 1
    assert {line["link"] for line in lines if "link" in line} >= {"dashboard", "tensorboard", "report"}
