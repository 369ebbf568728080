"""From a trained run's folder to its report: figures, numbers and a page that needs nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import CheckConfig, DataConfig, GemConfig, ModelConfig, RunConfig, ScoringConfig, TrainConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES, face, true_strength
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import DataError
from gem_ray.evaluation.evaluate import evaluate, read_rows, readings_of_scores
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
from gem_ray.graph.layers import Layer
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.messages.questions import ScoreAnswer
from gem_ray.models.gem import Gem
from gem_ray.scoring.asking.model_files import model_fingerprint
from gem_ray.scoring.checking.agreement import Interval
from gem_ray.scoring.checking.checks import AttributeCheck, Check, write_check
from gem_ray.scoring.rescoring.scores import ScoreTable, write_scores
from gem_ray.storage import Storage
from gem_ray.train.step import Inputs, build_parts, state_tensors, train_step

NUM_IMAGES, HOLDOUT, SIDE, STEPS, SCORED = 240, 80, 32, 40, 64
VOID_TAGS = {"meta", "img", "br", "link", "input"}


def make_config(folder: Path, **options: object) -> GemConfig:
    return GemConfig(
        run=RunConfig(name="small", uri=str(folder)),
        data=DataConfig(uri=str(folder / "data"), batch_size=32, holdout=HOLDOUT),
        train=TrainConfig(steps=STEPS),
        **options,  # type: ignore[arg-type]
    )


def write_data(folder: Path, attributes: tuple[str, ...] | None = ATTRIBUTES, source: str = "faces") -> np.ndarray:
    """Three shards of drawn faces; their attributes float64 [N, 6]."""
    faces = [face(0, index, SIDE) for index in range(NUM_IMAGES)]
    images, values = np.stack([image for image, _ in faces]), np.stack([value for _, value in faces])
    data, entries = Storage(str(folder / "data"), GemConfig().storage), []
    for number, part in enumerate(np.array_split(np.arange(NUM_IMAGES), [100, 170])):
        content = encode_shard(images[part], part, values[part] if attributes else None, attributes or ())
        name, digest = f"shard_{number}.parquet", hashlib.sha256(content).hexdigest()
        data.write_bytes(name, content)
        entries.append(ShardEntry(name=name, count=len(part), num_bytes=len(content), sha256=digest))
    write_manifest(
        data,
        Manifest(
            shape=(SIDE, SIDE, 3), shards=tuple(entries), source=source, attributes=attributes, seed=0, num_skipped=0,
            settings={},
        ),
    )  # fmt: skip
    return values


def write_run(folder: Path, config: GemConfig, values: np.ndarray) -> Storage:
    """A run of a few real steps, with a score table, a graph near the truth, and a history."""
    run = Storage(str(folder / "small"), config.storage)
    digits = np.round(values[:SCORED] * 5).astype(int)
    answers = [
        ScoreAnswer(probabilities=None if (i, j) == (3, 2) else tuple(np.eye(6)[digits[i, j]]), digit_mass=0.9)
        for i in range(SCORED)
        for j in range(6)
    ]
    order = np.random.default_rng(0).permutation(SCORED)
    table = ScoreTable.empty(ATTRIBUTES).extended(order, [answers[6 * i + j] for i in order for j in range(6)])
    error = np.full((6, 6), 0.05)
    error[0, 1] = np.inf
    shown = 0.5 * true_strength()
    np.fill_diagonal(shown, np.nan)
    graph = DisGraph.from_strength(ATTRIBUTES, true_strength() + 0.01 * (1 - np.eye(6)), error)
    n = len(ATTRIBUTES)
    scored = dataclasses.replace(
        graph.layers[EvidenceKind.SCORES],
        evidence=tuple(tuple("scan-1.json" if i != j else "" for j in range(n)) for i in range(n)),
    )
    traversed = dataclasses.replace(Layer.unknown(n), value=shown, standard_error=np.where(np.eye(n), np.inf, 0.1))
    of_model = dict.fromkeys((EvidenceKind.TRAVERSALS, EvidenceKind.SAMPLES), traversed)
    layers = {**graph.layers, EvidenceKind.SCORES: scored, **of_model}
    graph = dataclasses.replace(graph, version=4, layers=layers, scores=write_scores(run, table, "nano"))
    parts = build_parts(config, SIDE, torch.device("cpu"))
    strength, confidence = (torch.tensor(m, dtype=torch.float32) for m in (graph.strength, graph.confidence))
    lines: list[dict[str, object]] = [{"event": "graph", "step": 10, "version": 4}]
    images = (
        torch.from_numpy(np.stack([face(0, index, SIDE)[0] for index in range(32)])).permute(0, 3, 1, 2).float() / 255
    )
    for step in range(STEPS):
        noise = torch.randn(32, 32, generator=torch.Generator().manual_seed(step))
        terms, _, _ = train_step(
            parts, Inputs(images, noise, None, strength, confidence, None, None, step), config.objective
        )
        lines.append(
            {
                "step": step, **{name: float(value) for name, value in terms._asdict().items()}, "discriminator": None,
                "time": float(step), "epoch": step / 5, "kl_nodes": [0.1] * 6, "kl_residual": 1, "images_per_s": 320,
                "graph_version": 4, "graph_age_s": 1.0, "questions_asked": 384, "questions_missing": 1, "beta": 1.0,
            }
        )  # fmt: skip
    model, optimizer = state_tensors(parts)
    state = {"config": config_to_json(config), "image_size": SIDE}
    checkpoint = Checkpoint(step=STEPS, model=model, optimizer=optimizer, graph_json=graph.to_json(), state=state)
    save_checkpoint(run, checkpoint, keep=3)
    run.write_bytes("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    run.write_bytes("config.json", config_to_json(config).encode())
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Storage, GemConfig]:
    """(run, data, configuration) of a run whose report has been written."""
    folder = tmp_path_factory.mktemp("runs")
    config = make_config(folder)
    run = write_run(folder, config, write_data(folder))
    data = Storage(config.data.uri, config.storage)
    write_report(run, data, config)
    return run, data, config


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


def copied(run: Storage, folder: Path, config: GemConfig) -> Storage:
    """Another run with the same files."""
    copy = Storage(str(folder / "small"), config.storage)
    for name in run.list():
        copy.write_bytes(name, run.read_bytes(name))
    return copy


def test_the_summary_holds_the_numbers_that_can_be_computed_again(finished):
    run, _, config = finished
    summary = json.loads(run.read_bytes("summary.json"))
    model = Gem(config.model, SIDE)
    checkpoint = load_checkpoint(run)
    model.load_state_dict({name[4:]: value for name, value in checkpoint.model.items()})
    images = np.stack([face(0, index, SIDE)[0] for index in range(NUM_IMAGES - HOLDOUT, NUM_IMAGES)])
    x = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    strength = torch.tensor(DisGraph.from_json(checkpoint.graph_json).strength, dtype=torch.float32)
    with torch.no_grad():
        mu, logvar = model.encode(x)
        reconstructed = model.images(model.decode(model.relate(mu, strength)))
        kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean(dim=0)
    assert summary["quality"]["mse"] == pytest.approx(float(((x - reconstructed) ** 2).mean()), rel=1e-4)
    assert summary["quality"]["kl_per_latent"] == pytest.approx(kl.tolist(), rel=1e-3, abs=1e-6)
    assert summary["nodes"][2]["kl_nats"] == pytest.approx(float(kl[2]), rel=1e-3, abs=1e-6)
    # The graph was made as the truth plus .01.
    assert summary["graph"]["agreement"]["mean_absolute_difference"] == pytest.approx(0.01)
    assert summary["graph"]["agreement"]["sign_agreement"] == 1.0
    assert summary["graph"]["agreement"]["direction_agreement"] == 1.0
    assert summary["run"]["training_s"] == pytest.approx(STEPS * 32 / 320)
    assert summary["graph"]["known"] == pytest.approx(29 / 30)
    scoring = summary["scoring"]
    assert (scoring["asked"], scoring["missing"], scoring["images_scored"]) == (384, 1, SCORED)
    assert scoring["digit_mass"] == pytest.approx(0.9)
    assert scoring["total"] is None, "the counters of costs are not in this history"


def test_what_the_mllm_said_and_did_not_say_is_in_the_summary_by_attribute(finished):
    run, _, _ = finished
    scoring = json.loads(run.read_bytes("summary.json"))["scoring"]
    digits = np.round(np.stack([face(0, index, SIDE)[1] for index in range(SCORED)]) * 5)
    rates = {entry["name"]: entry for entry in scoring["attributes"]}
    assert rates["bald"]["zero_rate"] == pytest.approx((digits[:, 1] == 0).mean())
    assert rates["male"]["failure_rate"] == pytest.approx(1 / SCORED)
    assert scoring["failure_rate"] == pytest.approx(1 / (6 * SCORED))


def test_fidelity_and_noise_are_told_edge_by_edge(finished):
    run, _, _ = finished
    graph = json.loads(run.read_bytes("summary.json"))["graph"]
    off_diagonal = ~np.eye(6, dtype=bool)
    off_diagonal[0, 1] = False  # that edge has no evidence
    gap = np.abs(0.5 * true_strength() - (true_strength() + 0.01))[off_diagonal].mean()
    assert graph["fidelity_gap"] == graph["traversal_gap"] == pytest.approx(gap)
    assert graph["fidelity_noise"] == pytest.approx(np.sqrt(2 / np.pi) * np.hypot(0.1, 0.05))
    edges = {(edge["source"], edge["target"]): edge for edge in graph["relations"]}
    assert edges["beard", "male"]["fidelity"] == pytest.approx(0.5 * true_strength()[3, 2] + 0.01)
    assert not edges["beard", "male"]["may_be_noise"]
    assert edges["bangs", "bald"]["may_be_noise"]
    assert edges["bangs", "bald"]["low"] is None
    strongest = [abs(edge["strength"]) for edge in graph["relations"][::2]]
    assert strongest == sorted(strongest, reverse=True)


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


def test_scored_images_are_found_by_their_record_numbers_in_any_order(finished):
    run, data, config = finished
    found = evaluate(run, data, config)
    rows = np.array([239, 0, 105, 99, 100, 0])
    expected = np.stack([face(0, int(index), SIDE)[0] for index in rows])
    np.testing.assert_array_equal(read_rows(data, found.manifest, rows), expected)

    class AttributeReader(Gem):
        """An encoder that knows a face by its pixels and answers with its attributes."""

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            known = {face(0, index, SIDE)[0].tobytes(): face(0, index, SIDE)[1] for index in range(SCORED)}
            pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
            mu = torch.zeros(len(x), self.latent_dim)
            mu[:, :6] = torch.tensor(np.stack([known[image.tobytes()] for image in pixels])).float()
            return mu, mu

    assert found.scores is not None
    order = readings_of_scores(AttributeReader(config.model, SIDE), data, found.manifest, found.scores).order
    assert (np.diag(order)[~np.isnan(np.diag(order))] > 0.95).all()
    assert np.isfinite(np.diag(order)).sum() >= 5


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
