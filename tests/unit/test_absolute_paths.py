"""Places that a person types are the same places in every process."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from gem_ray.absolute_paths import absolute, with_absolute_paths
from gem_ray.config import DataConfig, GemConfig, ObjectiveConfig, PrepareConfig, RunConfig, ScoringConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.data.files import read_files
from gem_ray.data.listings import FileListing
from gem_ray.data.sources import list_source
from gem_ray.storage import Storage
from jobs import prepare


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_local_places_become_absolute_and_all_others_are_left_alone(here):
    local = GemConfig(
        run=RunConfig(uri="runs"),
        data=DataConfig(uri="~/faces"),
        objective=ObjectiveConfig(perceptual_weights="weights/vgg16.safetensors"),
        scoring=ScoringConfig(scorer="stored", scores_from="runs/other"),
        prepare=PrepareConfig(source="photos.zip"),
    )
    found = with_absolute_paths(local)
    assert found.run.uri == str(here / "runs")
    assert found.data.uri == str(Path.home() / "faces")
    assert found.objective.perceptual_weights == str(here / "weights" / "vgg16.safetensors")
    assert found.scoring.scores_from == str(here / "runs" / "other")
    assert found.prepare.source == "photos.zip", "data that were prepared before have this name"
    assert local.run.uri == "runs"
    nowhere = GemConfig(data=DataConfig(uri="s3://bucket/faces"))
    found = with_absolute_paths(nowhere)
    assert found.data.uri == "s3://bucket/faces"
    assert (found.objective.perceptual_weights, found.scoring.scores_from) == ("", "")
    assert found.scoring.model == "nano"


def test_a_home_folder_is_the_one_that_storage_means(here):
    config = GemConfig().storage
    assert Storage(absolute("~/x"), config).root == Storage("~/x", config).root


def test_what_is_listed_here_is_read_from_any_folder(here, monkeypatch):
    (here / "photos").mkdir()
    (here / "photos" / "a.jpg").write_bytes(b"bytes")
    listing = list_source("photos", 0, GemConfig().storage)
    assert isinstance(listing, FileListing)
    sent = Storage(*listing.storage.__reduce__()[1])
    monkeypatch.chdir("/")
    assert list(read_files(sent, listing.items, 100)) == [(0, b"bytes")]
    assert {list_source(name, 3, GemConfig().storage).name for name in DRAWN} == set(DRAWN)


def test_shards_are_prepared_where_the_driver_means_and_not_where_ray_was_started(here, monkeypatch, capsys):
    sent: list[GemConfig] = []
    monkeypatch.setattr("gem_ray.train.ray_session.ray_session", lambda _config: nullcontext())
    monkeypatch.setattr("gem_ray.data.prepare.prepare", lambda config: sent.append(config) or "done")
    prepare.main(GemConfig(data=DataConfig(uri="data/faces")))
    assert sent[0].data.uri == str(here / "data" / "faces")
    assert capsys.readouterr().out == "data/faces: done\n"
