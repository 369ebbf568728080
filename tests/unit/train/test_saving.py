"""Checkpoints that a run goes on from, and ones that fail say so and leave the last good one."""

import resource
import threading
import time
from types import SimpleNamespace

import pytest
import torch

from gem_ray.checkpoint import complete_steps, load_checkpoint
from gem_ray.config import GemConfig, ModelConfig, RunConfig
from gem_ray.errors import TrainingError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.storage import Storage
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.run_log import RunLog
from gem_ray.train.saving import Saver, resume
from gem_ray.train.step import build_parts, state_tensors
from gem_ray.train.trainer import run_storage

CPU = torch.device("cpu")


@pytest.fixture
def files_of_at_most_64_kb():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_run(tmp_path):
    config = GemConfig(run=RunConfig(uri=str(tmp_path), name="r"), model=ModelConfig(residual_dim=2))
    graph = DisGraph.empty(tuple(config.model.attributes))
    feed = RelationFeed(without_scores(graph), CPU, 1)
    return config, run_storage(config), build_parts(config, 32, CPU), feed


def influence_of_one_step(parts):
    influence = EdgeInfluence(parts.gem.edge_offset)
    parts.gem.edge_offset.grad = torch.full((6, 6), -0.5)
    influence.add()
    return influence


@pytest.fixture
def saving(process_group_of_one, tmp_path):
    """A saver, what it saves and the steps that it reported."""
    config, run, parts, feed = make_run(tmp_path)
    config.graph.refresh_every_steps = 5
    reported: list[int] = []
    log, influence = RunLog(run, 0), influence_of_one_step(parts)
    saver = Saver(config, run, parts, feed, influence, log, reported.append)
    yield SimpleNamespace(saver=saver, run=run, parts=parts, feed=feed, config=config, reported=reported)
    saver.close()
    log.close()


@pytest.fixture
def slow_storage(monkeypatch):
    """Writing waits until the event is set."""
    go_on, write = threading.Event(), Storage.write_bytes

    def write_late(self, name, data):
        assert go_on.wait(60)
        write(self, name, data)

    monkeypatch.setattr(Storage, "write_bytes", write_late)
    yield go_on
    go_on.set()


def set_offset(parts, value):
    with torch.no_grad():
        parts.gem.edge_offset.fill_(value)


def test_a_saved_checkpoint_is_what_a_new_worker_resumes_from(saving):
    set_offset(saving.parts, 0.25)
    saving.saver.begin(7)
    saving.saver.wait()
    fresh = build_parts(saving.config, 32, CPU)
    step, relations = resume(saving.run, fresh, DisGraph.empty(("x", "y")))
    assert step == 7
    assert relations.graph.digest() == saving.feed.relations.graph.digest()
    assert torch.equal(state_tensors(fresh)[0]["gem.edge_offset"], torch.full((6, 6), 0.25))
    assert load_checkpoint(saving.run).state["edge_influence"] == [[0.5] * 6] * 6
    assert saving.reported == [7]


def test_damaged_checkpoints_are_out_of_the_way_before_training_goes_on(saving, caplog):
    for step in (7, 14):
        saving.saver.begin(step)
        saving.saver.wait()
    saving.run.write_bytes("checkpoints/step_000000014/model.safetensors", b"")
    assert resume(saving.run, saving.parts, saving.feed.relations.graph)[0] == 7
    assert complete_steps(saving.run) == [7]
    assert "checkpoints/unreadable_000000014" in caplog.text


def test_steps_go_on_while_a_checkpoint_is_written_and_do_not_change_it(saving, slow_storage):
    set_offset(saving.parts, 0.25)
    saving.saver.begin(7)
    set_offset(saving.parts, 9.0)
    for step in range(7, 20):
        saving.saver.look(step)
    assert complete_steps(saving.run) == saving.reported == []
    slow_storage.set()
    saving.saver.wait()
    assert complete_steps(saving.run) == saving.reported == [7]
    assert load_checkpoint(saving.run).model["gem.edge_offset"].unique().item() == 0.25


def test_a_checkpoint_is_reported_at_the_first_look_after_it_is_whole(saving):
    saving.saver.begin(7)
    end = time.monotonic() + 60
    while complete_steps(saving.run) != [7] and time.monotonic() < end:
        time.sleep(0.01)
    saving.saver.close()
    saving.saver.look(8)
    assert saving.reported == [], "ranks look at every fifth step alone"
    saving.saver.look(10)
    saving.saver.wait()
    assert saving.reported == [7]


def test_a_second_checkpoint_waits_for_the_first(saving, slow_storage):
    saving.saver.begin(7)
    threading.Timer(0.2, slow_storage.set).start()
    saving.saver.begin(14)
    assert saving.reported == [7]
    saving.saver.wait()
    assert saving.reported == [7, 14]


def test_a_new_run_starts_at_step_0_with_the_given_graph(process_group_of_one, tmp_path):
    _, run, parts, _ = make_run(tmp_path)
    graph = DisGraph.empty(("x", "y"))
    assert resume(run, parts, graph)[0] == 0
    assert resume(run, parts, graph)[1].graph.digest() == graph.digest()


def test_a_full_disk_is_reported_and_the_last_good_checkpoint_stays(saving, request):
    saving.saver.begin(5)
    saving.saver.wait()
    request.getfixturevalue("files_of_at_most_64_kb")
    saving.saver.begin(6)
    with pytest.raises(
        TrainingError, match="checkpoint of step 6 could not be written: .*last good checkpoint is kept"
    ):
        saving.saver.wait()
    assert complete_steps(saving.run) == [5]
    assert load_checkpoint(saving.run).step == 5
    assert saving.reported == [5]
