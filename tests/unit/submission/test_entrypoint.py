"""What a cluster is told to run: the same options, and no place that only this machine has."""

from __future__ import annotations

import re
import shlex

import pytest

from gem_ray.errors import ConfigError
from gem_ray.submission.entrypoint import command_line, job_overrides, placed
from jobs.compose import load_config
from jobs.table import compose_cells

CLOUD = ["data.uri=s3://b/data", "run.uri=s3://b/runs"]


def test_a_path_of_this_machine_is_refused_naming_all_of_them_and_the_remedy():
    with pytest.raises(ConfigError) as caught:
        placed(load_config([]))
    assert all(said in str(caught.value) for said in ("run.uri=runs", "data.uri=data/faces", "submit.storage="))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([*CLOUD, "scoring.scorer=stored", "scoring.scores_from=runs/x"], "scoring.scores_from=runs/x"),
        ([*CLOUD, "scoring.model=/models/qwen"], "scoring.model=/models/qwen"),
        ([*CLOUD, "submit.job=prepare", "prepare.source=photos.zip"], "prepare.source=photos.zip"),
        ([*CLOUD, "submit.job=table", "table.output=out"], "table.output=out"),
        (["data.uri=s3://b/d", "run.uri=file:///runs"], "run.uri=file:///runs"),
    ],
)
def test_every_place_that_the_job_would_look_at_is_checked(overrides, named):
    with pytest.raises(ConfigError, match=re.escape(named)):
        placed(load_config(overrides))


def test_places_that_the_job_does_not_look_at_are_let_be():
    placed(load_config([*CLOUD, "table.output=here"]))
    placed(load_config(["data.uri=s3://b/d", "submit.job=prepare"]))


def test_relative_places_lie_below_the_storage_that_is_given():
    config = placed(load_config(["submit.storage=s3://b/p/", "run.uri=s3://other/runs"]))
    assert (config.data.uri, config.run.uri) == ("s3://b/p/data/faces", "s3://other/runs")


def test_with_a_shared_file_system_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = placed(load_config(["submit.local_paths=true"]))
    assert config.data.uri == f"{tmp_path}/data/faces"


@pytest.mark.parametrize("uri", ["s3://b/data", "/a b/c", "/it's [x],{y}=1", "/a\\b"])
def test_the_job_composes_to_the_places_that_were_sent(uri):
    typed = ["submit.local_paths=true", "submit.detach=true", "plan.measure=true", "train.steps=7", f"data.uri='{uri}'"]
    if "'" in uri:
        typed[-1] = f'data.uri="{uri}"'
    config = placed(load_config(typed))
    line = shlex.split(command_line("train", job_overrides(config, typed)))
    assert line[:3] == ["python", "-m", "jobs.train"]
    assert not any(word.startswith(("submit.", "plan.")) for word in line)
    sent = load_config(line[3:])
    assert (sent.data.uri, sent.run.uri, sent.train.steps) == (uri, config.run.uri, 7)


def data_of_cells(*typed: str) -> set[str]:
    """``data.uri`` of every cell, as the job composes them from what it is sent."""
    typed = ("submit.job=table", "table.methods=[gem]", "table.experiments=[faces,dsprites]", "table.seeds=[0]", *typed)
    sent = job_overrides(placed(load_config(typed)), typed)
    cells, _ = compose_cells(load_config(sent), sent)
    return {cell.config.data.uri for cell in cells}


def test_the_data_of_every_cell_of_a_table_lie_below_the_storage_that_is_given():
    storage = ("submit.storage=s3://b/p/", "cluster=aws")
    assert data_of_cells(*storage) == {"s3://b/p/data/faces", "s3://b/p/data/dsprites"}
    assert data_of_cells(*storage, "data.uri=data/mine") == {"s3://b/p/data/mine"}
    assert data_of_cells(*storage, "data.uri=s3://other/data") == {"s3://other/data"}
    assert data_of_cells("table.output=s3://b/t", "table.data_root=s3://b/d") == {
        "s3://b/d/data/faces",
        "s3://b/d/data/dsprites",
    }


def test_a_table_whose_cells_would_read_a_folder_of_this_machine_is_refused():
    with pytest.raises(ConfigError, match=r"data\.uri=data/faces.*submit\.storage="):
        data_of_cells("table.output=s3://b/t")
    with pytest.raises(ConfigError, match=r"data\.uri=/here/data/faces"):
        data_of_cells("submit.storage=s3://b/p", "table.data_root=/here")


def test_with_a_shared_file_system_cells_read_below_the_folder_of_who_submits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = ("submit.local_paths=true", "submit.job=table")
    assert f"table.data_root={tmp_path}" in job_overrides(placed(load_config(typed)), typed)


def sent_to_evaluate(*typed: str) -> list[str]:
    """The places that an evaluation is sent with."""
    typed = ("submit.job=evaluate", *typed)
    overrides = job_overrides(placed(load_config(typed)), typed)
    return [override for override in overrides if override.startswith(("data.uri", "run.uri"))]


def test_an_evaluation_takes_the_data_of_its_run_unless_others_are_given():
    storage = "submit.storage=s3://b/p"
    assert sent_to_evaluate(storage, "run.name=photos") == ["run.uri=s3://b/p/runs"]
    assert sent_to_evaluate("run.uri=s3://b/runs") == ["run.uri=s3://b/runs", "run.uri=s3://b/runs"]
    assert sent_to_evaluate(storage, "experiment=photos") == ["data.uri=s3://b/p/data/photos", "run.uri=s3://b/p/runs"]
    with pytest.raises(ConfigError, match="data.uri=data/photos"):
        sent_to_evaluate("run.uri=s3://b/runs", "experiment=photos")
