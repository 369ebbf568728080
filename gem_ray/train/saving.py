"""What a run goes on from: rank 0 publishes checkpoints, and all ranks resume from the newest whole one."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist

from gem_ray import telemetry
from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import GemConfig
from gem_ray.config_json import config_to_json
from gem_ray.errors import GemRayError, TrainingError
from gem_ray.evaluation.relations import relation_fidelity
from gem_ray.graph.disgraph import DisGraph
from gem_ray.scoring.choosing.signals import INFLUENCE
from gem_ray.storage import Storage
from gem_ray.train.collectives import broadcast_bytes
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.relation_feed import RelationFeed, Relations
from gem_ray.train.relation_source import load_relations
from gem_ray.train.run_log import RunLog
from gem_ray.train.step import Parts, load_state_tensors, state_tensors


def resume(run: Storage, parts: Parts, start_graph: DisGraph) -> tuple[int, Relations]:
    """Bring all ranks to rank 0's newest whole checkpoint; (steps done, relations in use then)."""
    device = parts.device
    found = load_checkpoint(run) if dist.get_rank() == 0 else None
    chosen = torch.tensor([found.step if found else 0], dtype=torch.int64, device=device)
    dist.broadcast(chosen, 0)
    step = int(chosen)
    if step:
        checkpoint = found or load_checkpoint(run, step)
        assert checkpoint is not None
        load_state_tensors(parts, checkpoint.model, checkpoint.optimizer)
    relations = None
    if dist.get_rank() == 0:
        relations = load_relations(run, DisGraph.from_json(found.graph_json) if found else start_graph)
    shared = broadcast_bytes(relations.to_bytes() if relations else None, device)
    assert shared is not None
    return step, Relations.from_bytes(shared)


def is_checkpoint_due(config: GemConfig, done: int) -> bool:
    """Whether the plan has a checkpoint behind ``done`` steps."""
    return done % config.train.checkpoint_every_steps == 0 or done == config.train.steps


def publish_checkpoint(
    config: GemConfig,
    run: Storage,
    parts: Parts,
    feed: RelationFeed,
    influence: EdgeInfluence,
    step: int,
    log: RunLog | None,
) -> None:
    """Rank 0 writes; all ranks learn whether it worked, so that none waits for one that has given up."""
    failure = b""
    if log is not None:
        model, optimizer = state_tensors(parts)
        state: dict[str, Any] = {
            "config": config_to_json(config),
            "image_size": parts.gem.image_size,
            "time": time.time(),
            INFLUENCE: influence.take(),
            "world": dist.get_world_size(),
        }
        checkpoint = Checkpoint(
            step=step, model=model, optimizer=optimizer, graph_json=feed.relations.graph.to_json(), state=state
        )
        started = time.monotonic()
        try:
            num_bytes = save_checkpoint(run, checkpoint, config.train.keep_checkpoints)
            log.publish()
            record_published(config.run.name, step, num_bytes, time.monotonic() - started, feed)
        except GemRayError as error:
            telemetry.add_count("gem_checkpoint_failures", 1, run=config.run.name)
            failure = str(error).encode()
    reason = broadcast_bytes(failure, parts.device)
    if reason:
        raise TrainingError(
            f"checkpoint of step {step} could not be written: {reason.decode()}; "
            "the last good checkpoint is kept, make room and run the same command again"
        )


def record_published(run_name: str, step: int, num_bytes: int, seconds: float, feed: RelationFeed) -> None:
    """Export what a checkpoint took, and how far what the model shows is from the relations it was trained on."""
    telemetry.set_gauge("gem_checkpoint_step", step, run=run_name)
    telemetry.add_count("gem_checkpoint_bytes", num_bytes, run=run_name)
    telemetry.observe("gem_checkpoint_seconds", seconds, run=run_name)
    gap = relation_fidelity(feed.relations.graph)
    if gap is not None:
        telemetry.set_gauge("gem_relation_fidelity_gap", gap, run=run_name)
