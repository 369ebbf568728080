"""The table of all scores."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from gem_ray.errors import ConfigError
from gem_ray.evaluation.disentanglement.scores import METRICS, Effort, Split, score_all

HIGHER_IS_BETTER = (
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness_test",
    "factor_vae",
    "beta_vae",
    "sap",
    "modularity",
    "explicitness",
    "irs",
    "tad",
)


def make_split(codes, grid, test_codes=None):
    return Split(codes=codes, factors=grid, test_codes=codes if test_codes is None else test_codes, test_factors=grid)


def test_every_score_ranks_a_perfect_code_over_noise(grid, noise):
    perfect, nothing = (
        score_all(make_split(z, grid, test), Effort(0)) for z, test in ((grid * 1.0, grid * 1.0), (noise, noise[::-1]))
    )
    for name in HIGHER_IS_BETTER:
        assert perfect.scores[name] > nothing.scores[name] + 0.1, name
    assert set(perfect.seconds) == set(METRICS)


def test_table_can_be_written_as_json(grid, noise):
    table = score_all(make_split(grid + noise, grid), Effort(4), only=["mig", "unsupervised", "tad"])
    assert json.loads(json.dumps(table.scores)) == table.scores
    settings = json.loads(json.dumps(table.settings))
    assert (settings["seed"], settings["num_codes"], settings["num_test_codes"]) == (4, 400, 400)
    assert settings["scikit-learn"]


def test_only_the_named_metrics_are_computed(grid, noise):
    table = score_all(make_split(noise, grid), Effort(0), only=["mig", "irs"])
    assert set(table.scores) == set(table.seconds) == {"mig", "irs"}


def test_tad_is_of_the_binary_factors(grid, noise):
    table = score_all(make_split(grid * 1.0, grid), Effort(0), only=["tad"])
    assert table.scores == {"tad": pytest.approx(0.5), "tad_captured": 1, "tad_attributes": 1}
    assert score_all(make_split(noise, grid[:, 1:]), Effort(0), only=["tad"]).scores == {}


def test_tad_is_of_the_labels_where_they_are_given_and_sap_also_by_correlation_of_values(grid, noise):
    split = Split(
        codes=grid * 1.0,
        factors=grid,
        test_codes=grid * 1.0,
        test_factors=grid,
        values=np.tile(grid, (2, 1)) * 1.0,
        labels=np.tile(grid[:, 1:] % 2, (2, 1)),
    )
    table = score_all(split, Effort(0), only=["tad", "sap"])
    assert table.scores["tad_attributes"] == 2
    assert table.scores["sap_continuous"] == pytest.approx(1)


def test_progress_counts_the_trees_of_every_factor(grid, noise):
    done = []
    score_all(make_split(noise, grid), Effort(0, workers=2, on_trees=done.append), only=["dci"])
    assert Counter(done) == {1: 100, 4: 100, 5: 100}  # a hundred rounds for two, four and five values


def test_unknown_metric_is_named(grid, noise):
    with pytest.raises(ConfigError, match=r"\['fid'\]: choose from mig, dci"):
        score_all(make_split(noise, grid), Effort(0), only=["fid"])


def test_importing_the_table_leaves_scikit_learn_for_later():
    # a second of import that --help and training would pay for
    program = "import sys, gem_ray.evaluation.disentanglement.scores; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
