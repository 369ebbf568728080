"""A scan of a data set through Ray Data, Serve and vLLM: killed half way, and gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray import serve

from gem_ray.config import DataConfig, GemConfig, RunConfig, ScanConfig, ScoringConfig
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.data.manifest import Manifest, ShardEntry, read_manifest, write_manifest
from gem_ray.data.shards import encode_shard, read_records
from gem_ray.scoring.asking.questions import Questioner
from gem_ray.scoring.checking.scanning import run_scan
from gem_ray.scoring.rescoring.scores import read_scores
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.deployment import vllm_scorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.storage import Storage

pytestmark = [pytest.mark.ray, pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(600)]
NUM_FACES, PART, SEED, SIDE = 150, 20, 41, 64
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GemConfig:
    folder = tmp_path_factory.mktemp("scan")
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=f"scan-{os.getpid()}"),
        data=DataConfig(uri=str(folder / "faces"), holdout=10),
        scan=ScanConfig(part_images=PART),
        scoring=ScoringConfig(batch_questions=12, max_in_flight=2),
    )


@pytest.fixture(scope="module")
def data(config: GemConfig) -> Storage:
    """Faces in two shards, neither of which is a whole number of parts."""
    storage = Storage(config.data.uri, config.storage)
    entries = []
    for number, (start, stop) in enumerate(((0, 90), (90, NUM_FACES))):
        images = np.stack([face(SEED, index, SIDE)[0] for index in range(start, stop)])
        shard = encode_shard(images, np.arange(start, stop), None, ())
        storage.write_bytes(f"{number}.parquet", shard)
        entries.append(
            ShardEntry(
                name=f"{number}.parquet",
                count=stop - start,
                num_bytes=len(shard),
                sha256=hashlib.sha256(shard).hexdigest(),
            )
        )
    manifest = Manifest(
        shape=(SIDE, SIDE, 3),
        shards=tuple(entries),
        source="photos",
        attributes=None,
        seed=SEED,
        num_skipped=0,
        settings={},
    )
    write_manifest(storage, manifest)
    return storage


@pytest.fixture(scope="module")
def questions(ray_4_cpus: None, config: GemConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The run's MLLM, and a file with a line for each question that reached it."""
    asked = tmp_path_factory.mktemp("asked") / "questions.txt"

    def build(settings: ScoringConfig) -> object:
        scorer = vllm_scorer(settings)
        answer = scorer.score

        async def score(requests):
            with asked.open("a") as file:
                file.writelines(f"{hashlib.sha256(r.image).hexdigest()} {r.attribute}\n" for r in requests)
            return await answer(requests)

        scorer.score = score
        return scorer

    start_scorer(config.scoring, config.run.name, build)
    yield asked
    stop_scorer(config.run.name)
    serve.shutdown()


def parts_of(config: GemConfig) -> list[Path]:
    return sorted(Path(config.run.uri, config.run.name, "scan").glob("part_*.parquet"))


def kill_after_parts(config: GemConfig, wanted: int, log: Path) -> None:
    """Start ``jobs.scan`` in a process of its own, and SIGKILL it when so many parts are written."""
    options = [
        f"run.uri={config.run.uri}",
        f"run.name={config.run.name}",
        f"run.address={ray.get_runtime_context().gcs_address}",
        f"data.uri={config.data.uri}",
        f"scan.part_images={PART}",
        "scoring.batch_questions=12",
        "scoring.max_in_flight=2",
    ]
    with log.open("wb") as output:
        job = subprocess.Popen([sys.executable, "-m", "jobs.scan", *options], stdout=output, stderr=output, cwd=ROOT)
    end = time.monotonic() + 240
    try:
        while len(parts_of(config)) < wanted:
            assert job.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
    finally:
        job.send_signal(signal.SIGKILL)
        job.wait(timeout=30)


def wait_for_quiet(questions: Path, quiet_s: float = 3.0) -> None:
    """Until the killed job's actor, which Ray ends a moment later, asks no more."""
    size, since = -1, time.monotonic()
    while time.monotonic() - since < quiet_s:
        if questions.stat().st_size != size:
            size, since = questions.stat().st_size, time.monotonic()
        time.sleep(0.1)


def test_a_killed_scan_goes_on_and_asks_no_image_of_a_finished_part_again(
    config: GemConfig, data: Storage, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kill_after_parts(config, 3, tmp_path / "job.log")
    wait_for_quiet(questions)
    before = parts_of(config)
    finished = np.concatenate([pq.read_table(path)["index"].to_numpy() for path in before])
    assert 3 * PART <= len(finished) < NUM_FACES

    found = run_scan(config)

    images = read_records(data, read_manifest(data), 0, NUM_FACES).images
    asked = Counter(tuple(line.split(" ", 1)) for line in questions.read_text().splitlines())
    names = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    assert set(asked) >= {(name, attribute) for name in names for attribute in ATTRIBUTES}
    assert all(asked[names[index], attribute] == 1 for index in finished for attribute in ATTRIBUTES)
    # What was under way at the kill had no answer to keep: two requests of twelve questions, at most.
    again = sum(count - 1 for (name, _), count in asked.items() if name in names)  # others are health checks
    assert again <= 24
    assert found.asked + found.stored == (NUM_FACES - len(finished)) * len(ATTRIBUTES)

    shown = capsys.readouterr().out
    assert "zero-scoring rate" in shown
    assert "acts on" in shown
    assert app_name(config.run.name) in serve.status().applications  # it was there before, so it stays

    table = found.table
    np.testing.assert_array_equal(table.index, np.arange(NUM_FACES))
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    np.testing.assert_allclose(
        read_scores(run.child("scan"), found.ref).expectations, table.expectations, atol=1e-5, equal_nan=True
    )

    async def directly() -> list[float | None]:
        scorer = ServeScorer(app_name(config.run.name), 60.0)
        questioner = Questioner(scorer, batch_questions=48, max_in_flight=4)
        return [answer.expectation for answer in await questioner.ask(images, ATTRIBUTES)]

    expected = np.array(asyncio.run(directly()), dtype=float).reshape(NUM_FACES, len(ATTRIBUTES))
    np.testing.assert_allclose(table.expectations, expected, atol=0.05)
    assert np.abs(table.expectations - expected).mean() < 0.005


def test_a_finished_scan_asks_nothing_and_a_part_of_it_has_its_own_table(
    config: GemConfig, questions: Path, data: Storage
) -> None:
    some = run_scan(replace(config, scan=replace(config.scan, images=70)))
    assert (some.asked, some.stored, len(some.table.index)) == (0, 0, 70)
    whole = run_scan(config)
    assert (whole.asked, whole.stored) == (0, 0)
    np.testing.assert_array_equal(whole.table.probabilities[:70], some.table.probabilities)
