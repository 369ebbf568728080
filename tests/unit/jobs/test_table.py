"""How the command line of a table becomes its cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from gem_ray.errors import ConfigError
from gem_ray.table.cells import check_equal_budget
from jobs.compose import choices, load_config
from jobs.table import compose_cells


def compose(*overrides: str):
    return compose_cells(load_config(overrides), overrides)


def test_every_method_and_data_set_gets_every_seed_and_the_options_of_the_whole_table():
    cells, _ = compose(
        "table.methods=[vae,gem_labels]",
        "table.experiments=[pendulum,flow]",
        "table.seeds=[3,5]",
        "table.reference=vae",
        "train.steps=7",
    )
    assert [(cell.seed, cell.experiment, cell.method) for cell in cells][:5] == [
        (3, "pendulum", "vae"),
        (3, "pendulum", "gem_labels"),
        (3, "flow", "vae"),
        (3, "flow", "gem_labels"),
        (5, "pendulum", "vae"),
    ]
    assert len(cells) == 8
    assert {cell.config.train.steps for cell in cells} == {7}
    assert {cell.config.train.num_workers for cell in cells} == {1}, "many cells side by side rather than many workers"
    assert all(cell.config.train.seed == cell.seed for cell in cells)
    assert len({cell.config.run.name for cell in cells}) == 8
    assert all(Path(cell.config.run.uri).is_absolute() for cell in cells)
    assert all(cell.config.objective.align_weight == 0 for cell in cells if cell.method == "vae")
    assert all(cell.config.scoring.scorer == "labels" for cell in cells if cell.method == "gem_labels")


def test_methods_that_ask_the_mllm_share_one_run_of_scores_unless_told_otherwise():
    options = ("table.methods=[vae,gem,gem_frozen,gem_no_graph]", "table.experiments=[faces]", "table.seeds=[0,1]")
    cells, scores = compose(*options)
    assert [one.experiment for one in scores] == ["faces"]
    asking = [cell for cell in cells if cell.method != "vae"]
    assert {cell.config.scoring.scores_from for cell in asking} == {scores[0].storage.uri}
    assert {cell.config.scoring.scorer for cell in asking} == {"stored"}
    own, none = compose(*options, "table.share_scores=false")
    assert none == []
    assert {cell.config.scoring.scorer for cell in own if cell.method != "vae"} == {"vllm"}


def test_all_methods_can_stand_in_one_table():
    cells, _ = compose(f"table.methods=[{','.join(choices('method'))}]", "table.experiments=[faces]", "table.seeds=[0]")
    check_equal_budget(cells)
    assert len(cells) > 15


@pytest.mark.parametrize("override", ["method=vae", "experiment=flow", "train.seed=1", "run.name=x", "run.uri=there"])
def test_what_tells_cells_apart_cannot_be_set_for_all(override: str):
    with pytest.raises(ConfigError, match="every cell its own"):
        compose("table.methods=[vae]", "table.reference=vae", override)


def test_an_unknown_method_is_refused_before_anything_is_run():
    with pytest.raises(ConfigError, match="nowhere"):
        compose("table.methods=[nowhere]", "table.reference=nowhere")
