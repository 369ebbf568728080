"""A run has one name on a cluster, and one attempt at a time."""

from __future__ import annotations

from dataclasses import replace

from gem_ray.config import DataConfig, GemConfig, RunConfig, SubmitConfig, TableConfig
from gem_ray.submission.attempts import attempts, submission_prefix


def config(job: str = "train", **options: object) -> GemConfig:
    return replace(GemConfig(submit=SubmitConfig(job=job)), **options)  # type: ignore[arg-type]


def test_the_same_run_has_the_same_name_and_another_place_another():
    first = submission_prefix(config(run=RunConfig(name="faces", uri="s3://a/runs")))
    assert first == submission_prefix(config(run=RunConfig(name="faces", uri="s3://a/runs/")))
    assert first.startswith("train-faces-")
    assert first != submission_prefix(config(run=RunConfig(name="faces", uri="s3://b/runs")))


def test_what_tells_jobs_apart_is_what_they_write():
    assert submission_prefix(config("prepare", data=DataConfig(uri="s3://a/data/photos"))).startswith("prepare-photos-")
    assert submission_prefix(config("table", table=TableConfig(output="s3://a/my table/"))).startswith(
        "table-my-table-"
    )


def test_the_next_attempt_counts_on_from_the_newest_of_this_run_alone():
    known = attempts("train-a-1", {"train-a-1-2": "FAILED", "train-a-1-10": "STOPPED", "train-a-11-30": "FAILED"})
    assert (known.under_way, known.next, known.latest) == (None, "train-a-1-11", "train-a-1-10")


def test_an_attempt_that_has_not_ended_is_under_way():
    for status in ("PENDING", "RUNNING"):
        assert attempts("x", {"x-1": "SUCCEEDED", "x-2": status}).under_way == "x-2"
    assert attempts("x", {}).next == "x-1"
