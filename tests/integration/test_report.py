"""From a trained run's folder to its report: figures, numbers and a page that needs nothing else."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gem_ray.checkpoint import load_checkpoint, save_checkpoint
from gem_ray.config import CheckConfig, GemConfig, ModelConfig, ScoringConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES
from gem_ray.data.shards import encode_shard
from gem_ray.errors import DataError
from gem_ray.evaluation.evaluate import evaluate
from gem_ray.evaluation.evaluation_facts import (
    EvaluationFacts,
    HealthFacts,
    NodeScores,
    ReconstructionFacts,
    RelationScores,
    write_evaluation,
)
from gem_ray.evaluation.facts import Summary
from gem_ray.evaluation.report import Shown, format_summary, render, write_report
from gem_ray.evaluation.summarize import summarize
from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.scoring.asking.model_files import model_fingerprint
from gem_ray.scoring.checking.agreement import Interval
from gem_ray.scoring.checking.checks import AttributeCheck, Check, write_check
from gem_ray.storage import Storage
from tests.integration.small_run import (
    SIDE,
    STEPS,
    copied,
    make_config,
    write_data,
    write_run,
)

VOID_TAGS = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags that are open, addresses that are asked for, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.alternatives: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID_TAGS:
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.alternatives += [value or "" for name, value in attrs if name == "alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.words += " "

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_whole_and_asks_for_nothing_outside_itself(finished):
    run, _, _ = finished
    text = run.read_bytes("report.html").decode()
    page = Page(text)
    assert page.open == []
    pictures = [address for address in page.addresses if not address.startswith("#")]
    assert len(pictures) >= 10
    assert all(re.match("data:image/(png|gif);base64,", address) for address in pictures)
    assert sum(address.startswith("data:image/gif") for address in pictures) == 2
    assert len(page.alternatives) == len(pictures), "every picture is told in words"
    assert all(len(text) > 20 for text in page.alternatives)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert not re.search(r"@import|url\(|<script|https?://(?!www\.w3\.org)", re.sub(r"data:image[^\"]*", "", text))


def test_the_page_shows_what_the_run_was_and_which_mechanisms_were_on(finished):
    words = " ".join(Page(finished[0].read_bytes("report.html").decode()).words.split())
    for part in (
        "GEM run small",
        "Step 40 of 40",
        "240 images of 32×32",
        "scan-1.json",
        "bald → male",
        "weak supervision by the MLLM",
        "Adversarial term off",
        "Residual latents 26",
        '"residual_dim": 26',
        "384 questions",
        "digits 0.900",
    ):
        assert part in words, part


def test_every_figure_lies_beside_the_page(finished):
    run, _, _ = finished
    names = {name.removeprefix("figures/") for name in run.list("figures")}
    pictures = {
        "reconstructions", "samples", "latents", "changes", "relations", "network", "agreement", "readings",
        "losses", "rescoring", "ranking", "fidelity", "traversals_1", "traversals_2", "traversals_3", "swaps",
        "follows", "associations", "against_truth",
    }  # fmt: skip
    assert names == {f"{name}.png" for name in pictures} | {"film_1.gif", "film_2.gif"}
    for name in names:
        magic = b"\x89PNG" if name.endswith("png") else b"GIF89a"
        assert run.read_bytes(f"figures/{name}").startswith(magic)
    assert len(run.read_bytes("report.html")) < 15e6


def test_the_page_has_a_section_for_every_kind_of_picture(finished):
    page = Page(finished[0].read_bytes("report.html").decode())
    sections = {"reconstructions", "traversals", "swaps", "nodes", "disentanglement", "relations", "training"}
    assert sections <= set(page.ids)
    words = " ".join(page.words.split())
    for part in ("Hold the moving pictures still", "What follows", "Node swaps", "their difference on a finer scale"):
        assert part in words, part
    assert "python -m jobs.evaluate run.name=small" in words, "without scores the page says how to get them"
    told = " ".join(page.alternatives)
    assert "going from low to high and back" in told
    assert "the true factors of held-out images (80)" in told


def make_facts(step: int, warnings: tuple[str, ...] = (), ignored: bool = False) -> EvaluationFacts:
    """An evaluation of which only scores, node and health are of interest."""
    reconstruction = ReconstructionFacts(
        num_images=80, mse=0.1, psnr_db=10.0, ssim=0.5, explained=0.1, lpips=None, perceptual=None,
        perceptual_network=None,
    )  # fmt: skip
    node = NodeScores(
        name="bald", auroc=0.625, auroc_rel=0.5, spearman=0.3, spearman_rel=0.2, order=0.4, order_rel=0.1, runner_up=0.1
    )
    health = HealthFacts(
        latent_dim=1, active_units=0, kl_nats=0.0, kl_per_latent=(0.0,), change_per_latent=(0.0,),
        change_per_node={"bald": 0.0}, ignored=ignored, warnings=warnings,
    )  # fmt: skip
    return EvaluationFacts(
        run="small", step=step, seed=0, data_uri="d", data_source="faces", images="80 images", reduction="none",
        factors=(), before={"mig": 0.1234, "tad": 1.5}, after={"mig": 0.0567, "tad": 1.25}, named_before={},
        named_after={}, nodes=(node,), reconstruction=reconstruction, distances=None,
        relations=RelationScores(
            truth=None, graphs=(), fidelity_gap=None, fidelity_noise=None, traversal_gap=None
        ), health=health, settings={}, seconds={"cpu": 0.0},
    )  # fmt: skip


@pytest.fixture(scope="module")
def summary(finished: tuple[Storage, Storage, GemConfig]) -> Summary:
    """The numbers of the run."""
    run, data, config = finished
    return summarize(evaluate(run, data, config), run)


@pytest.mark.parametrize(("step", "stale"), [(STEPS, False), (STEPS - 10, True)])
def test_scores_stand_on_the_page_before_and_after_the_graph_with_their_meaning(finished, summary, step, stale):
    facts = make_facts(step, ignored=stale)
    shown = Shown(figures={}, films={}, follows=(), associations=None, health=facts.health, scores=facts)
    words = " ".join(Page(render(summary, shown, finished[2])).words.split())
    for part in (
        "MIG 0.123 0.057 gap in information",
        "TAD (sum over captured labels) 1.500 1.250",
        "bald 0.625 0.500",
    ):
        assert part in words, part
    assert ("These scores are of step 30" in words) == stale
    assert ("The code is ignored: none of these scores means anything" in words) == stale
    assert "Not measured yet" not in words


def test_a_run_whose_decoder_is_deaf_is_told_so_before_anything_else(finished, tmp_path):
    run, data, config = finished
    copy = copied(run, tmp_path, config)
    checkpoint = load_checkpoint(copy)
    assert checkpoint is not None
    deaf = {name: 0 * value if "decoder" in name else value for name, value in checkpoint.model.items()}
    save_checkpoint(copy, replace(checkpoint, model=deaf), keep=3)
    write_evaluation(copy, make_facts(STEPS))
    write_report(copy, data, config)
    words = " ".join(Page(copy.read_bytes("report.html").decode()).words.split())
    assert words.index("The code of this run is ignored") < words.index("PSNR of held-out")
    assert "the decoder ignores the code" in words
    assert "MIG 0.123 0.057" in words, "the scores are read from the run's folder"
    assert "the decoder ignores the code" not in run.read_bytes("report.html").decode()


@pytest.mark.slow
def test_costs_and_looks_of_a_run_with_a_store_are_on_the_page(finished, tmp_path):
    run, data, config = finished
    copy = copied(run, tmp_path, config)
    store = GraphStore(copy, "small", ATTRIBUTES, config.graph)
    cost = {"asked": 60, "stored": 4, "failed": 1, "prompt_tokens": 600, "cached_tokens": 450, "seconds": 2.0}
    kinds = (EvidenceKind.SCORES, EvidenceKind.SAMPLES, EvidenceKind.SAMPLES)
    for number, kind in enumerate(kinds):
        copy.write_bytes(f"evidence/{number}.json", json.dumps({"cost": cost}).encode())
        edge = EdgeUpdate(
            source="beard", target="male", strength=0.6 - 0.1 * number, standard_error=0.05, num_observations=64
        )  # fmt: skip
        step = 20 * number if kind is EvidenceKind.SAMPLES else None
        push = Push(
            push_id=str(number), base_version=number, kind=kind, edges=(edge,), evidence_id=f"{number}.json", step=step
        )  # fmt: skip
        assert store.push(push).applied
    line = {"step": STEPS, "questions_asked": 200, "useful_changes": 4}
    line |= {f"cost_{name}": 2 * value for name, value in cost.items()}
    copy.write_bytes("metrics.jsonl", copy.read_bytes("metrics.jsonl") + json.dumps(line).encode() + b"\n")
    summary = write_report(copy, data, config)
    assert summary.scoring is not None
    assert [(entry.kind, entry.asked) for entry in summary.scoring.costs] == [("scores", 60), ("samples", 120)]
    assert summary.scoring.total is not None
    assert summary.scoring.total.prompt_tokens == 1200
    assert summary.scoring.questions_per_useful_change == pytest.approx((384 - 0 + 200) / 4)
    page = Page(copy.read_bytes("report.html").decode())
    words = " ".join(page.words.split())
    for part in ("The model’s own images", "questions for each useful change", "Zero-scoring rate", "may be noise"):
        assert part in words, part
    (beard,) = [edge for edge in summary.graph.relations if (edge.source, edge.target) == ("beard", "male")]
    assert beard.questions == 180


@pytest.mark.slow
def test_a_photographic_run_without_truth_or_mllm_gets_a_report_too(tmp_path):
    config = make_config(tmp_path, scoring=ScoringConfig(scorer="none"), model=ModelConfig(residual_dim=26))
    values = write_data(tmp_path, attributes=None, source="photos.zip")
    run = write_run(tmp_path, config, values)
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    run.delete("metrics.jsonl")
    save_checkpoint(run, replace(checkpoint, graph_json=DisGraph.empty(ATTRIBUTES).to_json()), keep=3)
    summary = write_report(run, Storage(config.data.uri, config.storage), config)
    assert summary.scoring is None
    assert summary.graph.agreement is None
    assert all(node.true_correlation is node.order_of_truth is None for node in summary.nodes)
    page = Page(run.read_bytes("report.html").decode())
    assert page.open == []
    assert "No MLLM was asked" in page.words
    absent = {"agreement", "network", "losses", "against_truth", "associations", "follows"}
    assert not {f"figures/{name}.png" for name in absent} & set(run.list("figures"))
    assert {"figures/swaps.png", "figures/film_1.gif", "figures/film_2.gif"} <= set(run.list("figures"))


@pytest.mark.slow
def test_a_report_on_photographs_that_the_model_cannot_tell_warns_first(tmp_path):
    check = CheckConfig(output=str(tmp_path / "checks"))
    config = make_config(tmp_path, model=ModelConfig(residual_dim=26), check=check)
    chance, sure = Interval(0.52, 0.4, 0.6), Interval(0.9, 0.8, 0.95)
    told = AttributeCheck(
        name="beard", num_images=100, num_present=30, rank_correlation=sure, auroc=chance, accuracy_mid=0.5,
        accuracy_best=0.5, best_threshold=2.5, calibration_error=2.0, mean_error=float("nan"), zero_rate=0.5,
        failure_rate=0.0, digit_mass=0.99, reliability=(),
    )  # fmt: skip
    found = Check(
        model="nano", fingerprint=model_fingerprint("nano"), source="photos.zip", protocol="p", image_size=SIDE,
        num_questions=100, questions_per_s=9.0, attributes=(told,),
    )  # fmt: skip
    write_check(Storage(check.output, config.storage), found)
    run = write_run(tmp_path, config, write_data(tmp_path, attributes=None, source="photos.zip"))
    summary = write_report(run, Storage(config.data.uri, config.storage), config)
    assert "told beard no better than by chance" in format_summary(summary)
    words = Page(run.read_bytes("report.html").decode()).words
    assert words.index("told beard no better than by chance") < words.index("Reconstructions")


def test_names_from_outside_cannot_put_anything_into_the_page(tmp_path):
    hostile = "<script>alert(1)</script>"
    config = make_config(tmp_path, model=ModelConfig(attributes=[hostile, *ATTRIBUTES[1:]]))
    values = write_data(tmp_path, attributes=None, source=f"{hostile}.zip")
    run = write_run(tmp_path, replace(config, model=ModelConfig()), values)
    checkpoint = load_checkpoint(run)
    assert checkpoint is not None
    graph = replace(DisGraph.from_json(checkpoint.graph_json), attributes=(hostile, *ATTRIBUTES[1:]), scores=None)
    state = checkpoint.state | {"config": config_to_json(config)}
    save_checkpoint(run, replace(checkpoint, graph_json=graph.to_json(), state=state), keep=3)
    write_report(run, Storage(config.data.uri, config.storage), config)
    text = run.read_bytes("report.html").decode()
    assert "<script" not in text
    assert hostile in Page(text).words


def test_a_run_that_was_never_trained_is_told_to_be(finished, tmp_path):
    _, data, config = finished
    with pytest.raises(DataError, match=r"no complete checkpoint.*jobs\.train"):
        write_report(Storage(str(tmp_path), config.storage), data, config)


def test_data_of_another_size_are_refused_by_both_sizes(finished, tmp_path):
    run, data, config = finished
    other = Storage(str(tmp_path), config.storage)
    for name in data.list():
        other.write_bytes(name, data.read_bytes(name))
    manifest = json.loads(data.read_bytes("manifest.json"))
    del manifest["sha256"]
    shard = encode_shard(np.zeros((100, 64, 64, 3), np.uint8), np.arange(100), None, ())
    entry = {"name": "s", "count": 100, "num_bytes": len(shard), "sha256": hashlib.sha256(shard).hexdigest()}
    manifest |= {"shape": [64, 64, 3], "shards": [entry], "count": 100, "attributes": None}
    other.write_bytes("s", shard)
    other.write_bytes("manifest.json", json.dumps(manifest).encode())
    with pytest.raises(DataError, match=r"side 64.*trained on 32"):
        write_report(run, other, config)


@pytest.mark.slow
def test_the_job_rewrites_a_report_by_the_name_of_the_run(finished):
    run, _, config = finished
    run.delete("report.html")
    command = [sys.executable, "-m", "jobs.report", "run.name=small", f"run.uri={config.run.uri}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "sign agreement 100" in done.stdout
    assert run.exists("report.html")


def test_the_job_names_a_run_that_does_not_exist(tmp_path):
    command = [sys.executable, "-m", "jobs.report", "run.name=absent", f"run.uri={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert re.search(r"no run at .*absent; set run\.uri and run\.name", done.stderr)
