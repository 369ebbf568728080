"""The training loop that every Ray Train worker runs.

``train_worker`` is a list of paragraphs: set up, then for each step refresh the relations, step, log, checkpoint.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from gem_ray import telemetry
from gem_ray.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json, config_to_json
from gem_ray.data.batch import to_float
from gem_ray.data.loader import Batch, Loader, open_loaders
from gem_ray.data.order import rank_lanes
from gem_ray.errors import GemRayError, TrainingError
from gem_ray.evaluation.relations import relation_fidelity
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.variants import variant
from gem_ray.scoring.choosing.signals import INFLUENCE
from gem_ray.storage import Storage
from gem_ray.structured_log import configure
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.collectives import broadcast_bytes, gather_numbers
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.measurements import Measurements
from gem_ray.train.notice import Notice, wait_to_be_ended
from gem_ray.train.relation_feed import RelationFeed, Relations
from gem_ray.train.relation_source import load_relations, start_poller
from gem_ray.train.run_log import RunLog
from gem_ray.train.step import Inputs, Parts, build_parts, load_state_tensors, state_tensors, step_noise, step_on_lanes

NOISE, PRIOR_NOISE = 1, 2


def train_worker(settings: dict[str, str]) -> None:
    """Train to ``train.steps`` from the run's newest checkpoint, or from the beginning.

    Returns early, behind a checkpoint, where a node of the group is about to be taken away.

    Args:
        settings: {"config": the configuration as JSON, "graph": the DisGraph a new run starts with, as JSON}

    Raises:
        TrainingError: a loss that is not finite, or a checkpoint that cannot be written; on all ranks alike
    """
    config = config_from_json(settings["config"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    configure(config.run.log_format, run=config.run.name, rank=rank)
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    device = ray.train.torch.get_device()
    torch.set_num_threads(max(1, int(config.train.cpus_per_worker)))
    keep_freed_memory(device.type)

    num_lanes = config.train.num_workers
    lanes = rank_lanes(rank, world, num_lanes)
    loaders = open_loaders(config, lanes, num_lanes)
    parts = build_parts(config, loaders[0].image_size, device)
    start_graph = variant(DisGraph.from_json(settings["graph"]), config.graph.relations, config.train.seed)
    start_step, relations = resume(run, parts, start_graph)
    wrap_for_world(parts)
    poller = start_poller(config, run, relations.graph.version) if rank == 0 else None
    feed = RelationFeed(relations, device, config.graph.refresh_every_steps, poller)
    log = RunLog(run, start_step) if rank == 0 else None
    note_start(log, start_step, world, gather_numbers(os.getpid(), device))
    measurements = Measurements(config, start_step, loaders[0].steps_per_epoch, parts.gem)
    influence = EdgeInfluence(parts.gem.edge_offset)
    notice = Notice(device, config.graph.refresh_every_steps)
    batches = zip(*(loader.batches(start_step) for loader in loaders), strict=True)
    try:
        for step, batch in enumerate(measurements.waited_for(batches), start_step):
            if step >= config.train.steps:
                break
            with measurements.timing("graph"):
                event = feed.refresh(step)
            if log and event:
                log.event(event)

            with measurements.timing("inputs"):
                inputs = lane_inputs(config, parts, feed, loaders, batch, step, lanes)
            with measurements.timing("step"):
                terms, critic_losses, outputs = step_on_lanes(parts, inputs, world / num_lanes, config.objective)
                measurements.add(step, terms, critic_losses, outputs)
                influence.add()

            done = step + 1
            leaving = notice.seen(step)
            publish = leaving or is_checkpoint_due(config, done)
            if publish or done % config.train.log_every_steps == 0:
                line = measurements.reduce(done, feed, poller)
                if log:
                    log.measure(step, line)
                    measurements.show(done, line)
            if publish:
                with measurements.timing("checkpoint"):
                    publish_checkpoint(config, run, parts, feed, influence, done, log)
                ray.train.report({"step": done})
            if leaving:
                wait_to_be_ended()
                break
    finally:
        if poller:
            poller.close()
        if log:
            log.close()


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


def wrap_for_world(parts: Parts) -> None:
    """Wrap what is called in DDP where there are several workers, after the state has been loaded."""
    parts.model = ray.train.torch.prepare_model(parts.model, move_to_device=False)
    for critic in parts.critics.values():
        critic.called = ray.train.torch.prepare_model(critic.called, move_to_device=False)


def note_start(log: RunLog | None, step: int, world: int, pids: list[int]) -> None:
    """Rank 0 logs who begins at which step."""
    if log:
        log.event(json.dumps({"event": "started", "step": step, "world": world, "pids": pids}))


def is_checkpoint_due(config: GemConfig, done: int) -> bool:
    """Whether the plan has a checkpoint behind ``done`` steps."""
    return done % config.train.checkpoint_every_steps == 0 or done == config.train.steps


def lane_inputs(
    config: GemConfig,
    parts: Parts,
    feed: RelationFeed,
    loaders: list[Loader],
    batches: tuple[Batch, ...],
    step: int,
    lanes: range,
) -> list[Inputs]:
    """Everything a step needs on this rank, by lane."""
    return [
        make_inputs(config, parts, feed, loader, batch, step, lane, config.train.num_workers)
        for lane, loader, batch in zip(lanes, loaders, batches, strict=True)
    ]


def make_inputs(
    config: GemConfig,
    parts: Parts,
    feed: RelationFeed,
    loader: Loader,
    batch: Batch,
    step: int,
    lane: int,
    num_lanes: int,
) -> Inputs:
    """Everything a step needs on one lane; noise and scored rows are functions of (seed, step) over all lanes."""
    size, seed, device = batch.images.shape[0], config.train.seed, parts.device
    mine = slice(lane * size, (lane + 1) * size)

    def noise(purpose: int) -> torch.Tensor:
        return step_noise(seed, step, purpose, size * num_lanes, parts.gem.latent_dim)[mine].to(device)

    rows = None
    if config.objective.align_weight > 0:
        rows = feed.scored_rows(seed, step, config.objective.align_batch, lane, num_lanes)
    return Inputs(
        images=to_float(batch.images, device, config.train.channels_last),
        noise=noise(NOISE),
        prior_noise=noise(PRIOR_NOISE) if parts.critics else None,
        strength=feed.strength,
        confidence=feed.confidence,
        scored_images=None if rows is None else scored_images(config, feed, loader, rows, device),
        targets=None if rows is None else feed.targets[torch.from_numpy(rows).to(device)],
        step=step,
        num_images=loader.steps_per_epoch * config.data.batch_size,
    )


def scored_images(
    config: GemConfig, feed: RelationFeed, loader: Loader, rows: np.ndarray, device: torch.device
) -> torch.Tensor:
    """The images [M, 3, H, W] of some rows of the score table."""
    return to_float(loader.images(feed.relations.index[rows]), device, config.train.channels_last)


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
