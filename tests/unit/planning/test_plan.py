"""A plan says what cannot work before anything starts, and its figures are those of its formulas."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from gem_ray.config import GemConfig, TrainConfig
from gem_ray.config_json import config_to_json
from gem_ray.planning.amounts import first_questions, price_of, questions_at_most, stored_bytes, training_hours
from gem_ray.planning.cluster_file import read_cluster_file
from gem_ray.planning.fitting import fit
from gem_ray.planning.memory import activation_numbers, num_parameters, worker_memory
from gem_ray.planning.nodes import ClusterShape, NodeType, this_machine
from gem_ray.planning.parts import training_parts
from gem_ray.planning.plan import make_plan, short_form
from gem_ray.planning.rates import measured_here, question_rate, training_rate
from jobs.compose import load_config

ROOT = Path(__file__).resolve().parents[3]


def node(name: str, cpus: float, gpus: float, low: int, high: int, **options: object) -> NodeType:
    settings = {"role": name, "memory": 64e9, "instance": name, "spot": False} | options
    return NodeType(name=name, cpus=cpus, gpus=gpus, min_count=low, max_count=high, **settings)  # type: ignore[arg-type]


def cluster(train: int = 8, mllm: int = 4, **options: object) -> ClusterShape:
    kinds = (
        node("head", 0, 0, 1, 1),
        node("stable", 4, 0, 1, 1),
        node("ingest", 16, 0, 0, 4),
        node("train", 8, 1, 0, train, spot=True),
        node("mllm", 8, 1, 0, mllm),
    )
    return ClusterShape(name="test", node_types=kinds, **options)  # type: ignore[arg-type]


def config(*overrides: str) -> GemConfig:
    """A run on a fixed number of workers, unless told otherwise."""
    return load_config(["cluster=aws", "data.uri=/nowhere", "run.uri=/nowhere", "train.min_workers=0", *overrides])


def finished_run(folder: Path, lines: list[dict[str, object]], *overrides: str) -> GemConfig:
    """A configuration whose run has left a log."""
    run = folder / "runs" / "faces"
    run.mkdir(parents=True)
    settings = load_config([f"run.uri={folder}/runs", *overrides])
    (run / "config.json").write_text(config_to_json(settings))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return settings


def test_every_part_lies_on_nodes_of_its_role():
    plan = make_plan(config(), cluster())
    assert plan.problems == ()
    assert plan.at_most.places["training"] == Counter(train=8)
    assert plan.at_most.places["MLLM"] == Counter(mllm=4)
    assert plan.at_most.places["driver, store, rescorer"] == Counter(stable=1)
    assert plan.at_most.nodes == Counter(head=1, stable=1, train=8, mllm=4)


@pytest.mark.parametrize(
    ("given", "overrides", "said"),
    [
        (cluster(train=3), [], ["training: 8 of 6 CPUs and 1 GPU", "5 of them", "0-3 x train", "train.num_workers"]),
        (cluster(), ["placement.mllm=big"], ["role 'big'", "no such nodes", "gem-ray/role=big"]),
        (cluster(), ["mllm=gpu_70b"], ["MLLM: 1 of 8 CPUs and 4 GPUs", "no node is so large", "another mllm="]),
        (cluster(max_workers=6), [], ["training", "max_workers of the whole cluster: 6"]),
    ],
)
def test_what_does_not_fit_names_both_sides_and_the_remedy(given, overrides, said):
    problems = make_plan(config(*overrides), given).problems
    assert problems
    assert [word for word in said if not any(word in problem for problem in problems)] == []


def test_a_run_that_may_begin_with_fewer_workers_waits_for_no_more_than_those():
    plan = make_plan(config("train.min_workers=1"), cluster(train=3))
    assert plan.problems == ()
    assert plan.at_least.places["training"] == Counter(train=1)
    assert make_plan(config("train.min_workers=4"), cluster(train=3)).problems


def test_a_worker_that_stands_in_for_others_streams_for_each_of_them_and_steps_as_alone():
    settings = GemConfig(train=TrainConfig(num_workers=8, min_workers=1))
    alone, one_of_all = (worker_memory(settings, 10**9, 64, workers=workers) for workers in (1, 8))
    assert alone.resident - one_of_all.resident == 7 * 3 * 4 * 64e6  # windows; scored images are held once
    assert alone.activations == one_of_all.activations


def test_an_mllm_that_may_take_the_gpus_of_training_is_a_deadlock():
    shared = ["placement.training=train", "placement.mllm=train"]
    (problem,) = make_plan(config(*shared), cluster(train=10)).problems  # 8 + 1 fit, 8 + 4 do not
    assert problem.startswith("deadlock")
    assert "2 of them find no room" in problem
    assert make_plan(config(*shared), cluster(train=12)).problems == ()


def test_a_node_too_small_for_the_images_is_found_before_it_is_out_of_memory():
    small = ClusterShape(
        name="test",
        node_types=(*cluster().node_types[:3], node("train", 8, 1, 8, 8, memory=4e9), cluster().node_types[4]),
    )
    many = ["plan.num_images=1000000", "data.memory_limit_gb=100"]
    problems = make_plan(config(*many), small).problems
    assert any("12.3 GB of it images" in problem and "data.ingest=stream" in problem for problem in problems)
    assert make_plan(config(*many, "data.ingest=stream"), small).problems == ()


def test_workers_that_share_a_node_must_fit_it_together():
    many = ["train.use_gpu=false", "train.cpus_per_worker=1", "plan.num_images=1000000", "data.ingest=memory"]
    (problem,) = make_plan(config(*many), cluster()).problems  # 13 GB each, of 45 GB, and 12 GB of 19 GB once
    assert "8 training workers on one node hold 10" in problem
    assert "98.3 GB of it images" in problem
    assert "a node train has 44.8 GB" in problem
    assert make_plan(config(*many, "train.cpus_per_worker=4"), cluster()).problems == (), "two on a node"


def test_memory_that_a_file_does_not_state_is_a_warning_for_nodes_that_workers_lie_on():
    kinds = (node("head", 0, 0, 1, 1), node("stable", 4, 0, 1, 1, memory=None), *cluster().node_types[2:3])
    kinds += (node("train", 8, 1, 0, 8, memory=None), cluster().node_types[4])
    plan = make_plan(config(), ClusterShape(name="silent", node_types=kinds))
    (warning,) = plan.warnings
    assert warning.startswith("memory of node type train is not stated")
    assert plan.problems == ()


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "kuberay/base/raycluster.yaml"])
def test_images_too_many_for_the_nodes_of_a_shipped_file_are_a_problem(name):
    shape = read_cluster_file(str(ROOT / "cluster" / name))
    assert make_plan(config(), shape).warnings == ()
    problems = make_plan(config("plan.num_images=20000000", "data.ingest=memory"), shape).problems
    assert any("a training worker holds 24" in problem and "node train" in problem for problem in problems)


def test_this_machine_has_the_gpus_that_are_in_it(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    one = load_config(["train.use_gpu=true", "train.num_workers=1", "data.batch_size=8", "run.uri=/nowhere"])
    assert make_plan(one, this_machine(cpus=64)).problems == ()
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (problem,) = make_plan(one, this_machine(cpus=64)).problems
    assert "no node is so large" in problem


def test_parameters_and_activations_are_those_of_the_closed_form():
    settings = GemConfig()
    latent = 6 + 26
    # locatello at 64: 3-32-32-64-64, kernels 4 4 2 2; then 1024-256-2L and back through 4x4 transposed convolutions
    encoder = (3 * 16 + 1) * 32 + (32 * 16 + 1) * 32 + (32 * 4 + 1) * 64 + (64 * 4 + 1) * 64
    encoder += (1024 + 1) * 256 + (256 + 1) * 2 * latent
    decoder = (latent + 1) * 256 + (256 + 1) * 1024
    decoder += (64 * 16) * 64 + 64 + (64 * 16) * 32 + 32 + (32 * 16) * 32 + 32 + (32 * 16) * 3 + 3
    graph = num_parameters(settings, 64) - encoder - decoder
    assert 36 <= graph <= 40  # the offset of six nodes, and the weights of a message round
    # what a checkpoint of the default run holds (docs/results.md: model.safetensors of 2.84 MB)
    assert num_parameters(settings, 64) * 4 == pytest.approx(2.84e6, rel=0.01)
    convolved = 32 * 32**2 + 32 * 16**2 + 64 * 8**2 + 64 * 4**2
    transposed = 64 * 8**2 + 32 * 16**2 + 32 * 32**2
    expected = 2 * (convolved + 256) + 2 * latent + 2 * (256 + 1024 + transposed) + 3 * 64**2
    assert activation_numbers(settings, 64) == expected


def test_memory_follows_its_formula_and_images_are_held_by_every_worker():
    settings = GemConfig()
    memory = worker_memory(settings, 20_000, 64, workers=2)
    numbers = num_parameters(settings, 64)
    assert (memory.parameters, memory.gradients, memory.optimizer) == (4 * numbers, 4 * numbers, 8 * numbers)
    assert memory.saving == 24 * numbers
    assert memory.resident == worker_memory(settings, 20_000, 64, workers=8).resident == 20_000 * 64 * 64 * 3
    assert memory.activations == 4 * (128 + 64) / 2 * activation_numbers(settings, 64)
    streamed = worker_memory(settings, 10**9, 64, workers=2)
    assert streamed.resident == 3 * 4 * 64e6 + (512 << 20)


def test_storage_questions_hours_and_prices_follow_their_formulas():
    settings = GemConfig()
    stored = stored_bytes(settings, 20_000, 64)
    assert stored.shards == 20_000 * (12_288 + 8)
    assert stored.checkpoints == 3 * 12 * num_parameters(settings, 64)
    assert first_questions(settings, 20_000) == 512 * 6
    assert training_hours(settings, 500.0, 2) == pytest.approx(3_500 * 128 / 1_000 / 3600)
    price = price_of(Counter(head=1, train=3), cluster(), ["train:1.0", "train/spot:0.4"])
    assert price.an_hour == pytest.approx(1.2)
    assert price.unknown == ("head",)


def test_answers_of_later_rounds_are_stored_too_up_to_their_bound():
    settings = GemConfig()
    data, shown = 20_000 * 6, 7 * (128 * 6 + 36 * 16 * 5)  # 7 checkpoints: 3,500 steps, one every 500
    assert questions_at_most(settings, 20_000) == data + shown
    assert data + shown > 45_696  # what the default run has asked (docs/results.md)
    assert stored_bytes(settings, 20_000, 64).answers == 39 * (data + shown)
    assert stored_bytes(settings, 10**9, 64).answers == settings.scoring.answers_bytes
    quiet = ["scoring.round_images=0", "scoring.sample_images=0", "scoring.traversal_images=0"]
    assert questions_at_most(load_config(quiet), 20_000) == first_questions(settings, 20_000)
    judging = load_config([*quiet, "scoring.judgements=true"])
    assert questions_at_most(judging, 20_000) - first_questions(settings, 20_000) == 30 * 4


def test_rates_come_from_the_run_of_the_same_name(tmp_path):
    lines: list[dict[str, object]] = [{"event": "started", "step": 0, "world": 2}]
    lines += [
        {"step": step, "images_per_s": rate, "cost_asked": 100 * number, "cost_seconds": 0.5 * number}
        for number, (step, rate) in enumerate(((19, 100.0), (39, 1000.0), (59, 1100.0)), 1)
    ]
    settings = finished_run(tmp_path, lines)
    assert training_rate(settings, 64).per_second == 500.0
    assert question_rate(settings).per_second == 200.0
    assert f"{tmp_path}/runs/faces" in training_rate(settings, 64).source
    assert training_rate(load_config(["run.uri=/nowhere"]), 64).per_second is None
    given = load_config([f"run.uri={tmp_path}/runs", "plan.images_per_second_per_worker=7"])
    assert training_rate(given, 64).per_second == 7


def test_the_rate_of_a_run_whose_workers_came_and_went_is_that_of_each_time(tmp_path):
    lines: list[dict[str, object]] = [{"event": "started", "step": 0, "world": 1}]
    lines += [{"step": step, "images_per_s": 1_000.0} for step in (19, 39, 59, 79)]
    lines += [{"event": "started", "step": 60, "world": 8}]  # and step 79 is done again
    lines += [{"step": step, "images_per_s": 8_000.0} for step in (79, 99)]
    assert training_rate(finished_run(tmp_path, lines), 64).per_second == 1_000.0


def test_the_rate_of_one_replica_says_that_nobody_knows_how_many_answered(tmp_path):
    lines: list[dict[str, object]] = [{"step": 19, "cost_asked": 400, "cost_seconds": 1.0}]
    settings = finished_run(tmp_path, lines, "scoring.max_replicas=4")
    assert question_rate(settings).per_second == 100.0
    assert "as if all of up to 4 replicas had answered" in question_rate(settings).source


def test_a_measured_rate_is_one_of_real_steps():
    settings = load_config(["data.batch_size=8", "objective.align_batch=2"])
    assert 1 < measured_here(settings, 32, seconds=0.2) < 1e6


def test_the_short_form_is_one_line_and_says_what_is_wrong():
    assert short_form(make_plan(config(), cluster())).count("\n") == 0
    assert "WARNING: training: 8 of" in short_form(make_plan(config(), cluster(train=3)))


def test_first_fit_keeps_gpu_nodes_for_what_needs_gpus():
    kinds = (node("gpu", 8, 1, 1, 1, role=""), node("cpu", 8, 0, 1, 1, role=""))
    parts = training_parts(load_config(["train.use_gpu=true", "train.num_workers=1", "train.cpus_per_worker=8"]))
    placed = fit([part.at_most() for part in parts], ClusterShape(name="two", node_types=kinds))
    assert placed.missing == {}
    assert placed.places["MLLM"] == Counter(cpu=1)
