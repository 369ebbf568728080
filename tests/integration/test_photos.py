"""Real photographs: from an archive in S3 to shards, checkpoints, logs and a report in S3."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from gem_ray.checkpoint import latest_step
from gem_ray.config import (
    DataConfig,
    GemConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.data.prepare import prepare
from gem_ray.evaluation.history import read_metrics
from gem_ray.storage import Storage
from gem_ray.train.trainer import run_storage, train

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("s3_credentials", "ray_4_cpus")]
PHOTOS = "sfhq_faces/sfhq_montage_faces_128.zip"
STEPS, IMAGES = 24, 128


@pytest.fixture
def some_photos(tmp_path):
    """A zip of a few photographs."""
    root = Path(os.environ.get("GEM_RAY_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
    if not (root / PHOTOS).exists():
        pytest.skip(f"{root / PHOTOS} is not here; set GEM_RAY_TEST_DATA to a folder that has it")
    with zipfile.ZipFile(root / PHOTOS) as whole, zipfile.ZipFile(tmp_path / "some.zip", "w") as part:
        names = [name for name in whole.namelist() if name.endswith(".jpg")][:IMAGES]
        for name in names:
            part.writestr(name, whole.read(name))
    return (tmp_path / "some.zip").read_bytes()


def test_photographs_in_s3_become_a_trained_run_and_a_report_in_s3(s3_bucket, some_photos):
    bucket, storage = s3_bucket
    Storage(bucket, storage).write_bytes("photos.zip", some_photos)
    config = GemConfig(
        storage=storage,
        run=RunConfig(uri=f"{bucket}/runs", name="photos"),
        data=DataConfig(uri=f"{bucket}/photos", batch_size=16, holdout=32),
        prepare=PrepareConfig(source=f"{bucket}/photos.zip", num_images=0),
        model=ModelConfig(residual_dim=10),
        objective=ObjectiveConfig(align_batch=4),
        train=TrainConfig(steps=STEPS, checkpoint_every_steps=STEPS // 2, log_every_steps=4),
        scoring=ScoringConfig(scorer="none"),
    )
    assert prepare(config).manifest.count == IMAGES

    summary = train(config)

    run = run_storage(config)
    assert latest_step(run) == STEPS
    lines = [line for line in read_metrics(run) if "event" not in line]
    assert lines[-1]["total"] < lines[0]["total"]
    assert any(name.startswith("tensorboard/") for name in run.list())
    assert any(name.startswith("graph/") for name in run.list())
    assert json.loads(run.read_bytes("summary.json"))["run"]["step"] == STEPS == summary.run.step
    assert summary.graph.agreement is None, "photographs have no known relations"
    assert b"data:image/png;base64," in run.read_bytes("report.html")
    assert not run.exists("lock.json"), "the lease was not given back"
