"""The whole of ``jobs.evaluate`` on a tiny run: real shards, a real checkpoint, a model of random weights."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from gem_ray.checkpoint import Checkpoint, save_checkpoint
from gem_ray.config import DataConfig, EvaluateConfig, GemConfig, ModelConfig, RunConfig, StorageConfig, TrainConfig
from gem_ray.config_json import config_to_json
from gem_ray.data.faces import ATTRIBUTES, face
from gem_ray.data.manifest import Manifest, ShardEntry, write_manifest
from gem_ray.data.shards import encode_shard
from gem_ray.errors import ConfigError, DataError
from gem_ray.evaluation.disentanglement.information import binned
from gem_ray.evaluation.disentanglement.mig import mig
from gem_ray.evaluation.evaluate import to_tensor
from gem_ray.evaluation.evaluation_facts import read_evaluation
from gem_ray.evaluation.scoring_of_codes import evaluate_codes, udr_of_runs
from gem_ray.graph.disgraph import DisGraph
from gem_ray.models.gem import Gem
from gem_ray.storage import Storage
from jobs.evaluate import main

NAMES = ("male", "beard", "smile")  # the data know nothing of the last
STRENGTH = np.array([[0.0, 0.4, 0.3], [0.9, 0.0, -0.5], [0.2, 0.1, 0.0]])
DRAWN = [face(0, index, 32) for index in range(320)]
QUICK = EvaluateConfig(num_train=200, num_test=100, num_images=0, metrics=["mig", "tad", "unsupervised"])


def storage(folder: Path) -> Storage:
    return Storage(str(folder), StorageConfig())


def write_data(folder: Path, labelled: bool = True) -> Storage:
    data, images = storage(folder), np.stack([image for image, _ in DRAWN])
    attributes = np.stack([values for _, values in DRAWN]) if labelled else None
    content = encode_shard(images, np.arange(len(images)), attributes, ATTRIBUTES)
    data.write_bytes("shards/0.parquet", content)
    entry = ShardEntry(
        name="shards/0.parquet", count=len(images), num_bytes=len(content), sha256=sha256(content).hexdigest()
    )
    manifest = Manifest(
        shape=(32, 32, 3), shards=(entry,), source="photos", attributes=ATTRIBUTES if labelled else None, seed=0,
        num_skipped=0, settings={},
    )  # fmt: skip
    write_manifest(data, manifest)
    return data


def write_run(folder: Path, seed: int = 0, loudness: float = 1.0, **model: object) -> tuple[Storage, GemConfig, Gem]:
    options: dict[str, object] = {"attributes": list(NAMES), "residual_dim": 2} | model
    config = GemConfig(model=ModelConfig(**options), data=DataConfig(holdout=60), evaluate=QUICK)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    gem, run = Gem(config.model, 32).eval(), storage(folder)
    with torch.no_grad():
        gem.encoder.head.weight.mul_(loudness)  # random weights write next to nothing into the code
    state = {"config": config_to_json(config), "image_size": 32}
    model_tensors = {f"gem.{name}": tensor for name, tensor in gem.state_dict().items()}
    graph = DisGraph.from_strength(NAMES, STRENGTH, np.full((3, 3), 0.05))
    save_checkpoint(run, Checkpoint(step=7, model=model_tensors, graph_json=graph.to_json(), state=state), keep=1)
    return run, config, gem


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Storage:
    return write_data(tmp_path_factory.mktemp("data"))


def test_the_file_says_what_was_measured_before_and_after_the_graph(tmp_path, data):
    run, config, gem = write_run(tmp_path)
    lines: list[str] = []
    facts = evaluate_codes(config, run, data, lines.append)
    assert read_evaluation(run) == facts
    assert facts.step == 7
    assert (facts.settings["num_codes_before"], facts.settings["num_codes_named_after"]) == (5, 3)
    assert facts.before["mig"] != facts.after["mig"]
    assert facts.distances is None
    assert facts.reconstruction.num_images == 60
    assert facts.images == "300 of all 320 images"
    # the same by hand: the stretch that the seed picks, binned factors, means of the codes
    start = int(np.random.default_rng(0).integers(21))
    chosen = slice(start, start + 300)
    values = np.stack([values for _, values in DRAWN])[chosen]
    with torch.no_grad():
        mu = gem.encode(to_tensor(np.stack([image for image, _ in DRAWN])[chosen]))[0].double().numpy()
    assert facts.before["mig"] == pytest.approx(mig(mu[:200], binned(values, 5)[:200]).score, abs=1e-6)
    # labels of the data are the truth where the data were not drawn here; of two of the three names
    assert facts.relations.truth == "Somers' D of the data's own attributes over 320 images"
    assert [one.graph for one in facts.relations.graphs] == ["DisGraph", "refined"]
    assert [node.spearman is None for node in facts.nodes] == [False, False, True]
    # random weights: nothing is in use, and everybody hears of it
    assert facts.health.ignored
    assert any(line.startswith("WARNING: ") for line in lines)


def test_the_command_takes_the_options_of_the_run_and_those_given_and_prints_the_tables(tmp_path, data, capsys):
    run, config, _ = write_run(tmp_path / "tiny")
    run.write_bytes("config.json", config_to_json(replace(config, train=TrainConfig(seed=5))).encode())
    given = GemConfig(
        run=RunConfig(name="tiny", uri=str(tmp_path)), data=DataConfig(uri=data.uri), evaluate=replace(QUICK, seed=3)
    )
    main(given)
    shown = capsys.readouterr().out
    for part in ("before the graph", "Named nodes", "PSNR, dB", "The code of this run is not used", "evaluation.json"):
        assert part in shown
    facts = read_evaluation(run)
    assert facts is not None
    assert (facts.seed, facts.settings["seed"], facts.reconstruction.num_images) == (5, 3, 60)


def test_nodes_of_two_dimensions_are_reduced_and_it_is_told(tmp_path, data):
    run, config, _ = write_run(tmp_path, node_dim=2, residual_dim=0)
    facts = evaluate_codes(config, run, data)
    assert facts.settings["num_codes_before"] == 3
    assert "principal component" in facts.reduction
    assert facts.named_before == {}  # there are no others


def test_only_the_codes_and_images_asked_for_are_scored(tmp_path, data):
    run, config, _ = write_run(tmp_path)
    wanted = replace(QUICK, codes=["after"], metrics=["mig"])
    facts = evaluate_codes(replace(config, evaluate=wanted), run, data)
    assert set(facts.after) == {"mig"}
    assert (facts.before, facts.named_before, facts.named_after) == ({}, {}, {})
    few = replace(config, evaluate=replace(QUICK, images="held_out"))
    with pytest.raises(DataError, match="60 images are too few to score codes on"):
        evaluate_codes(few, run, data)


def test_codes_that_no_graph_changes_are_scored_once_and_told_twice(tmp_path, data):
    run, config, _ = write_run(tmp_path, graph="none")
    facts = evaluate_codes(config, run, data)
    assert facts.before == facts.after
    assert facts.settings["num_codes_after"] == facts.settings["num_codes_before"] == 5
    timed = {name for name in facts.seconds if name.endswith(".mig")}
    assert timed == {"before.mig", "named_before.mig"}
    run, config, _ = write_run(tmp_path / "control")
    facts = evaluate_codes(config, run, data)
    assert facts.before != facts.after
    assert {name for name in facts.seconds if name.endswith(".mig")} > timed


def test_data_without_attributes_are_measured_as_far_as_it_goes(tmp_path):
    run, config, _ = write_run(tmp_path / "run")
    facts = evaluate_codes(config, run, write_data(tmp_path / "data", labelled=False))
    assert (facts.factors, facts.before, facts.nodes, facts.relations.truth) == ((), {}, (), None)
    assert facts.reconstruction.mse > 0
    assert facts.health.latent_dim == 5


@pytest.mark.slow  # loads transformers and the MLLM's vision tower
def test_pictures_are_compared_with_the_data_by_the_network_that_can_be_had(tmp_path, data):
    run, config, _ = write_run(tmp_path)
    wanted = replace(QUICK, num_images=100, codes=[], networks=str(tmp_path))
    facts = evaluate_codes(replace(config, evaluate=wanted), run, data)
    assert facts.distances is not None
    assert (facts.distances.network, facts.distances.num_images) == ("vision tower of the nano MLLM", 100)
    for found in (facts.distances.frechet, facts.distances.kernel):
        # grey pictures of random weights are farther from faces than other faces are
        assert found["samples"] > 2 * abs(found["data"])
        assert found["reconstructions"] > 2 * abs(found["data"])
    assert facts.reconstruction.lpips is None
    assert facts.reconstruction.perceptual is not None
    assert facts.reconstruction.perceptual > 0.1


def test_what_cannot_be_evaluated_is_refused_before_anything_is_computed(tmp_path, data):
    run, config, _ = write_run(tmp_path / "run")
    with pytest.raises(DataError, match=r"no complete checkpoint to evaluate; run python -m jobs.train"):
        evaluate_codes(config, storage(tmp_path / "other"), data)
    with pytest.raises(ConfigError, match=r"unknown metrics \['fid'\]"):
        evaluate_codes(replace(config, evaluate=replace(QUICK, metrics=["fid"])), run, data)
    assert read_evaluation(run) is None


def test_udr_is_one_for_a_run_and_itself_and_less_for_other_seeds(tmp_path, data):
    runs = [write_run(tmp_path / str(number), seed, loudness=200.0)[0] for number, seed in enumerate((0, 0, 1))]
    config = write_run(tmp_path / "again")[1]
    same, other = (udr_of_runs(config, pair, data, "spearman").pairwise[0, 1] for pair in (runs[:2], runs[1:]))
    assert other < same
    with pytest.raises(DataError, match="none was given"):
        udr_of_runs(config, [], data)


def test_dependence_of_nodes_is_that_of_their_correlation_before_and_after_the_graph(tmp_path, data):
    run, config, gem = write_run(tmp_path)
    facts = evaluate_codes(config, run, data)
    images = to_tensor(np.stack([image for image, _ in DRAWN[-60:]]))
    with torch.no_grad():
        mu = gem.encode(images)[0]
        related = gem.relate(mu, torch.tensor(STRENGTH, dtype=torch.float32))
    for found, codes in ((facts.relations.nodes_before, mu), (facts.relations.nodes_after, related)):
        correlation = np.corrcoef(codes[:, :3].double().numpy().T)
        assert found == pytest.approx(-0.5 * np.log(np.linalg.det(correlation)), rel=1e-6)
    assert facts.relations.nodes_before != pytest.approx(facts.relations.nodes_after)
