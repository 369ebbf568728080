"""The file of an evaluation: strict JSON, read back as it was, and refused where it is something else."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from gem_ray.config import StorageConfig
from gem_ray.errors import DataError
from gem_ray.evaluation.evaluation_facts import (
    FILE,
    DistanceFacts,
    EvaluationFacts,
    FactorFacts,
    GraphScores,
    HealthFacts,
    NodeScores,
    ReconstructionFacts,
    RelationScores,
    read_evaluation,
    write_evaluation,
)
from gem_ray.evaluation.evaluation_tables import evaluation_tables, print_evaluation
from gem_ray.evaluation.relations import RelationAgreement
from gem_ray.storage import Storage


def make_facts() -> EvaluationFacts:
    agreement = RelationAgreement(
        mean_absolute_difference=0.0131, max_absolute_difference=0.05, sign_agreement=1.0, direction_agreement=None
    )
    node = NodeScores(
        name="male", auroc=0.9512, auroc_rel=0.91, spearman=0.8, spearman_rel=0.7, order=0.9, order_rel=0.85,
        runner_up=0.2,
    )  # fmt: skip
    return EvaluationFacts(
        run="runs/faces", step=3500, seed=0, data_uri="data/faces", data_source="faces", images="15,000 images",
        reduction="none: every node is one number",
        factors=(
            FactorFacts(name="male", num_values=900, num_classes=5, presence=0.4, scored=True),
            FactorFacts(name="hat", num_values=1, num_classes=1, presence=None, scored=False),
        ),
        before={"mig": 0.6123, "tad_captured": 3, "total_correlation": math.inf},
        after={"mig": 0.4, "tad_captured": 2, "total_correlation": 1.5}, named_before={}, named_after={},
        nodes=(node, replace(node, name="hat", auroc=None)),
        reconstruction=ReconstructionFacts(
            num_images=512, mse=0.004, psnr_db=24.0, ssim=0.8, explained=math.nan, lpips=None, perceptual=0.05,
            perceptual_network="nano",
        ),
        distances=DistanceFacts(
            network="tower", num_images=1000, frechet={"samples": 12.0, "reconstructions": 3.0, "data": 0.5},
            kernel={"samples": 0.2, "reconstructions": 0.1, "data": 0.0},
        ),
        relations=RelationScores(
            truth="the data",
            graphs=(GraphScores(graph="DisGraph", agreement=agreement, rank_correlation=0.99, slope=0.97),),
            fidelity_gap=0.1, fidelity_noise=0.05, traversal_gap=None, nodes_before=0.125, nodes_after=0.5,
        ),
        health=HealthFacts(
            latent_dim=2, active_units=1, kl_nats=3.0, kl_per_latent=(3.0, 0.0), change_per_latent=(0.1, 0.0),
            change_per_node={"male": 0.1, "hat": 0.0}, ignored=False, warnings=("nodes that vary: [not] hat",),
        ),
        settings={"seed": 0, "scikit-learn": "1.9"}, seconds={"before.mig": 1.0, "codes": 64.0, "cpu": 60.0},
    )  # fmt: skip


def test_what_is_written_is_read_again_and_what_is_not_finite_is_none(tmp_path: Path):
    run = Storage(str(tmp_path), StorageConfig())
    assert read_evaluation(run) is None
    facts = make_facts()
    write_evaluation(run, facts)
    content = json.loads(run.read_bytes(FILE), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content["before"]["total_correlation"] is None
    assert read_evaluation(run) == replace(
        facts,
        before=facts.before | {"total_correlation": None},
        reconstruction=replace(facts.reconstruction, explained=None),
    )


@pytest.mark.parametrize("change", [{"schema_version": 99}, {"nodes": None}, {"unknown": 1}, {"health": {}}])
def test_another_file_is_refused_with_the_remedy(change):
    content = json.loads(make_facts().to_json()) | change
    with pytest.raises(DataError, match="write it again with python -m jobs.evaluate"):
        EvaluationFacts.from_json(json.dumps(content))
    with pytest.raises(DataError, match="cannot be read"):
        EvaluationFacts.from_json("{")


def test_only_the_distances_of_inception_are_called_fid_and_kid():
    distances = make_facts().distances
    assert distances is not None
    assert distances.names == ("Fréchet distance (tower)", "kernel distance (tower)")
    assert replace(distances, network="Inception v3, pool 2048").names == ("FID", "KID")
    text = " ".join(row[0] for table in evaluation_tables(make_facts()) for row in table.rows)
    assert "FID" not in text
    assert "LPIPS" not in text


def test_tables_hold_the_numbers_a_person_asks_for():
    tables = {table.title: table for table in evaluation_tables(make_facts())}
    scores = tables["Disentanglement"]
    assert scores.header == ("score", "before the graph", "after the graph")
    assert scores.rows[0] == ("MIG", "0.612", "0.400")
    assert ("  labels captured", "3", "2") in scores.rows
    assert ("Gaussian total correlation, nats", "–", "1.500") in scores.rows
    assert "left out, never varying: hat" in scores.note
    assert tables["Named nodes"].rows[0][:3] == ("male", "0.951", "0.910")
    assert tables["Named nodes"].rows[1][1] == "–"
    assert tables["Relations"].rows == (("DisGraph", "0.013", "100\u00a0%", "not known", "0.990", "0.97"),)
    assert ("Fréchet distance (tower), other data", "0.50") in tables["Pictures"].rows
    assert all(len(row) == len(table.header) for table in tables.values() for row in table.rows)


def test_a_table_about_nothing_is_left_out():
    facts = replace(make_facts(), before={}, after={}, factors=(), nodes=())
    assert [table.title for table in evaluation_tables(facts)] == ["Pictures", "Relations", "Use of the code"]


def test_a_code_that_is_ignored_is_told_loudly(capsys):
    from rich.console import Console

    facts = make_facts()
    print_evaluation(facts, Console(width=200))
    shown = capsys.readouterr().out
    assert "WARNING: nodes that vary: [not] hat" in shown
    assert "is not used" not in shown
    assert "1 min 05 s in all" in shown
    print_evaluation(replace(facts, health=replace(facts.health, ignored=True)), Console(width=200))
    assert "The code of this run is not used" in capsys.readouterr().out
