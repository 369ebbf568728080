"""The loop on real Ray Train workers: it survives kills exactly, follows a moving graph, and stops for reasons."""

import os
import signal
import threading
import time
import urllib.error
import urllib.request
import uuid

import numpy as np
import pytest
import ray
from safetensors.numpy import load

from gem_ray.checkpoint import complete_steps, load_checkpoint
from gem_ray.config import (
    DataConfig,
    GemConfig,
    GraphConfig,
    ModelConfig,
    ObjectiveConfig,
    PrepareConfig,
    RunConfig,
    ScoringConfig,
    TrainConfig,
)
from gem_ray.data.prepare import prepare
from gem_ray.errors import DataError, TrainingError
from gem_ray.evaluation.history import read_metrics
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.store import connect_store
from gem_ray.messages.graph import EdgeUpdate, EvidenceKind, Push
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session
from gem_ray.train.trainer import ensure_data, run_storage, run_training

pytestmark = pytest.mark.ray
STEPS, EVERY = 48, 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


def make_config(folder, name, **train):
    return GemConfig(
        run=RunConfig(uri=str(folder / "runs"), name=name),
        data=DataConfig(uri=str(folder / "faces"), batch_size=16, holdout=16),
        prepare=PrepareConfig(num_images=256, image_size=32, shard_mb=1),
        model=ModelConfig(residual_dim=4),
        objective=ObjectiveConfig(align_batch=4),
        graph=GraphConfig(poll_every_s=0.1, refresh_every_steps=2),
        train=TrainConfig(**{"steps": STEPS, "checkpoint_every_steps": EVERY, "log_every_steps": 4, **train}),
        scoring=ScoringConfig(scorer="none"),
    )


@pytest.fixture(scope="module")
def session(folder):
    with ray_session(make_config(folder, "session")) as dashboard:
        yield dashboard


def start_graph():
    strength = np.random.default_rng(0).uniform(-0.6, 0.6, (6, 6))
    np.fill_diagonal(strength, 0.0)
    return DisGraph.from_strength(tuple(ModelConfig().attributes), strength, np.full((6, 6), 0.02))


def run(config, graph=None):
    """The part of ``train`` between the lock and the report."""
    data, storage = Storage(config.data.uri, config.storage), run_storage(config)
    ensure_data(config, data)
    run_training(config, storage, data, graph)
    return storage


def final_parameters(storage, step=STEPS):
    return load(storage.read_bytes(f"checkpoints/step_{step:09d}/model.safetensors"))


def events(storage, name):
    return [line for line in read_metrics(storage) if line.get("event") == name]


def wait_for_step(storage, step, timeout_s=120.0):
    end = time.monotonic() + timeout_s
    while not any(line["step"] >= step for line in read_metrics(storage)):
        assert time.monotonic() < end, f"step {step} was not reached in {timeout_s} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(session, folder):
    return run(make_config(folder, "undisturbed"), start_graph())


def wait_for_save(storage, step, timeout_s=120.0):
    """Until a checkpoint is being written: its folder is there, its manifest comes last."""
    place, end = storage.local_path / "checkpoints" / f"step_{step:09d}", time.monotonic() + timeout_s
    while not place.exists():
        assert time.monotonic() < end, f"checkpoint {step} was not begun in {timeout_s} s"
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("rank", "wait", "step"),
    [
        pytest.param(1, wait_for_step, 12, id="early", marks=pytest.mark.slow),
        pytest.param(0, wait_for_save, STEPS // 2, id="while it saves"),
        pytest.param(1, wait_for_step, 36, id="late", marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_changes_nothing_about_the_result(undisturbed, folder, rank, wait, step):
    config = make_config(folder, f"killed-at-{step}")
    storage = run_storage(config)

    def kill_a_worker():
        wait(storage, step)
        os.kill(events(storage, "started")[0]["pids"][rank], signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    run(config, start_graph())
    killer.join()

    starts = events(storage, "started")
    assert len(starts) == 2, "the worker was not killed, or more than once"
    assert step - 2 * EVERY <= starts[1]["step"] <= step + EVERY, "the run began anew in place of resuming"
    assert starts[0]["pids"] != starts[1]["pids"]
    expected, found = final_parameters(undisturbed), final_parameters(storage)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    # It is the mean since the last checkpoint, so a restart before that leaves no trace in it.
    influence = [np.array(load_checkpoint(each).state["edge_influence"]) for each in (undisturbed, storage)]
    assert np.array_equal(*influence)
    assert ((influence[0] > 0) == ~np.eye(6, dtype=bool)).all()


@pytest.mark.slow
def test_another_seed_gives_other_parameters(undisturbed, folder):
    other = run(make_config(folder, "other-seed", seed=1), start_graph())
    expected, found = final_parameters(undisturbed), final_parameters(other)
    assert any(not np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_a_finished_run_goes_on_from_its_checkpoint_when_it_gets_more_steps(undisturbed, folder):
    first = run(make_config(folder, "longer", steps=STEPS // 2), start_graph())
    assert complete_steps(first)[-1] == STEPS // 2
    again = run(make_config(folder, "longer"), start_graph())
    assert [event["step"] for event in events(again, "started")] == [0, STEPS // 2]
    expected, found = final_parameters(undisturbed), final_parameters(again)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_all_ranks_follow_a_moving_graph_together(session, folder):
    config = make_config(folder, "moving", steps=400, checkpoint_every_steps=400)
    storage = run_storage(config)
    ended = threading.Event()

    def push_edges():
        wait_for_step(storage, 4)
        store, generator = connect_store(config.run.name, storage), np.random.default_rng(0)
        while not ended.wait(0.2):
            edge = EdgeUpdate(
                source="bald",
                target="male",
                strength=float(generator.uniform(-1, 1)),
                standard_error=0.01,
                num_observations=100,
            )
            store.push(
                Push(
                    push_id=uuid.uuid4().hex,
                    base_version=store.snapshot().version,
                    kind=EvidenceKind.SCORES,
                    edges=(edge,),
                    evidence_id="test",
                )
            )

    pusher = threading.Thread(target=push_edges)
    pusher.start()
    try:
        run(config)
    finally:
        ended.set()
        pusher.join()
    adopted = events(storage, "graph")
    versions = [event["version"] for event in adopted]
    assert len(adopted) >= 3, "the graph did not move while training went on"
    assert versions == sorted(set(versions))
    assert all(len(event["digests"]) == 2 and len(set(event["digests"])) == 1 for event in adopted)
    assert len({event["digests"][0] for event in adopted}) == len(adopted)
    assert all(event["step"] % config.graph.refresh_every_steps == 0 for event in adopted)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_at_once_and_keeps_the_checkpoint_before_it(session, folder):
    good = make_config(folder, "diverging", steps=EVERY)
    storage = run(good, start_graph())
    with pytest.raises(TrainingError, match=r"not finite at step \d+; lower train.learning_rate"):
        run(make_config(folder, "diverging", learning_rate=1e25), start_graph())
    assert complete_steps(storage) == [EVERY]
    assert len(events(storage, "started")) == 2, "an error that would happen again was retried"


def test_a_flipped_byte_in_a_shard_ends_the_run_by_name(session, folder):
    config = make_config(folder, "flipped")
    config.data = DataConfig(uri=str(folder / "flipped-faces"), batch_size=16, holdout=16)
    prepare(config)
    shard = next((folder / "flipped-faces").rglob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=shard.name):
        run(config, start_graph())


def test_nothing_of_a_run_is_left_in_ray(undisturbed):
    with pytest.raises(ValueError, match="disgraph-undisturbed"):
        ray.get_actor("disgraph-undisturbed", namespace="gem_ray")


def test_whatever_runs_in_a_local_ray_knows_which_of_several_is_its_own(session):
    """Ray Train looks its controller up there, and takes it for dead where it looks in another Ray of this machine."""
    address = ray.get(ray.remote(num_cpus=0)(os.getenv).remote("RAY_ADDRESS"))
    assert address == ray.get_runtime_context().gcs_address
    assert "RAY_ADDRESS" not in os.environ, "what this process starts would join this Ray unasked"


def test_the_dashboard_of_a_local_ray_answers_nobody_without_the_token(session):
    assert session.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{session}/api/jobs/", timeout=10)
    assert refused.value.code == 401
