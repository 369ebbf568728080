"""Checkpoints that a run goes on from, and ones that fail say so and leave the last good one."""

import resource

import pytest
import torch

from gem_ray.checkpoint import complete_steps, load_checkpoint
from gem_ray.config import GemConfig, ModelConfig, RunConfig
from gem_ray.errors import TrainingError
from gem_ray.graph.disgraph import DisGraph
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.relation_feed import RelationFeed, without_scores
from gem_ray.train.run_log import RunLog
from gem_ray.train.saving import publish_checkpoint, resume
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


def test_a_published_checkpoint_is_what_a_new_worker_resumes_from(process_group_of_one, tmp_path):
    config, run, parts, feed = make_run(tmp_path)
    with torch.no_grad():
        parts.gem.edge_offset.fill_(0.25)
    log = RunLog(run, 0)
    publish_checkpoint(config, run, parts, feed, influence_of_one_step(parts), 7, log)
    log.close()
    fresh = build_parts(config, 32, CPU)
    step, relations = resume(run, fresh, DisGraph.empty(("x", "y")))
    assert step == 7
    assert relations.graph.digest() == feed.relations.graph.digest()
    assert torch.equal(state_tensors(fresh)[0]["gem.edge_offset"], torch.full((6, 6), 0.25))
    assert load_checkpoint(run).state["edge_influence"] == [[0.5] * 6] * 6


def test_a_new_run_starts_at_step_0_with_the_given_graph(process_group_of_one, tmp_path):
    _, run, parts, _ = make_run(tmp_path)
    graph = DisGraph.empty(("x", "y"))
    assert resume(run, parts, graph)[0] == 0
    assert resume(run, parts, graph)[1].graph.digest() == graph.digest()


def test_a_full_disk_is_reported_and_the_last_good_checkpoint_stays(process_group_of_one, tmp_path, request):
    config, run, parts, feed = make_run(tmp_path)
    log = RunLog(run, 0)
    publish_checkpoint(config, run, parts, feed, influence_of_one_step(parts), 5, log)
    request.getfixturevalue("files_of_at_most_64_kb")
    with pytest.raises(
        TrainingError, match="checkpoint of step 6 could not be written: .*last good checkpoint is kept"
    ):
        publish_checkpoint(config, run, parts, feed, influence_of_one_step(parts), 6, log)
    assert complete_steps(run) == [5]
    assert load_checkpoint(run).step == 5
