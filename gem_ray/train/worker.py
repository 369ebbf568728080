"""The training loop that every Ray Train worker runs.

``train_worker`` is a list of paragraphs: set up, then for each step refresh the relations, step, log, checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
from ray.train.v2._internal.execution import context
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json
from gem_ray.data.ahead import ahead
from gem_ray.data.batch import to_float
from gem_ray.data.loader import Batch, Loader, open_loaders
from gem_ray.data.order import rank_lanes
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.variants import variant
from gem_ray.storage import Storage
from gem_ray.structured_log import configure
from gem_ray.train.allocator import keep_freed_memory
from gem_ray.train.collectives import gather_numbers
from gem_ray.train.first_step import wait_for_mllm
from gem_ray.train.influence import EdgeInfluence
from gem_ray.train.measurements import Measurements
from gem_ray.train.notice import Notice, wait_to_be_ended
from gem_ray.train.relation_feed import RelationFeed, RelationPoller, Relations
from gem_ray.train.relation_source import start_poller
from gem_ray.train.run_log import RunLog
from gem_ray.train.saving import Saver, is_checkpoint_due, resume
from gem_ray.train.step import Inputs, Parts, build_parts, step_noise, step_on_lanes

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
    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    device = prepare_process(config, rank)
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)

    num_lanes = config.train.num_workers
    lanes = rank_lanes(rank, world, num_lanes)
    loaders = open_loaders(config, lanes, num_lanes)
    parts = build_parts(config, loaders[0].image_size, device)
    start_step, relations = resume(run, parts, start_graph(config, settings["graph"]))
    wrap_for_world(parts)
    poller = start_poller(config, run, relations.graph.version) if rank == 0 else None
    feed = open_feed(config, relations, device, poller, loaders[0])
    log = RunLog(run, start_step) if rank == 0 else None
    started = {"event": "started", "step": start_step, "world": world, "pids": gather_numbers(os.getpid(), device)}
    write_event(log, json.dumps(started))
    wait_for_mllm(config, poller, device)
    measurements = Measurements(config, start_step, loaders[0].steps_per_epoch, parts.gem)
    influence = EdgeInfluence(parts.gem.edge_offset)
    saver = Saver(config, run, parts, feed, influence, log, report=lambda step: ray.train.report({"step": step}))
    notice = Notice(device, config.graph.refresh_every_steps)
    batches = ahead(zip(*(loader.batches(start_step) for loader in loaders), strict=True))
    try:
        for step, batch in enumerate(measurements.waited_for(batches), start_step):
            if step >= config.train.steps:
                break
            with measurements.timing("graph"):
                write_event(log, feed.refresh(step))

            with measurements.timing("inputs"):
                inputs = lane_inputs(config, parts, feed, loaders, batch, step, lanes)
            with measurements.timing("step"):
                terms, critic_losses, outputs = step_on_lanes(parts, inputs, world / num_lanes, config.objective)
                measurements.add(step, terms, critic_losses, outputs)
                influence.add()

            done, leaving = step + 1, notice.seen(step)
            publish = leaving or is_checkpoint_due(config, done)
            if publish or done % config.train.log_every_steps == 0:
                write_line(log, measurements, done, measurements.reduce(done, feed, poller))
            with measurements.timing("checkpoint"):
                saver.begin(done) if publish else saver.look(step)
            if leaving:
                saver.wait()
                wait_to_be_ended()
                break
        saver.wait()
    finally:
        close_all(poller, saver, log)


def start_graph(config: GemConfig, graph_json: str) -> DisGraph:
    """What a new run begins with: the store's graph, as the experiment wants it."""
    return variant(DisGraph.from_json(graph_json), config.graph.relations, config.train.seed)


def open_feed(
    config: GemConfig, start: Relations, device: torch.device, poller: RelationPoller | None, loader: Loader
) -> RelationFeed:
    """The relations of this rank's steps; where steps align, behind the images that they align with."""
    aligns = config.objective.align_weight > 0
    return RelationFeed(start, device, config.graph.refresh_every_steps, poller, loader if aligns else None)


def close_all(poller: RelationPoller | None, saver: Saver, log: RunLog | None) -> None:
    """End this rank's threads and files, the log last: it brings all to storage."""
    if poller:
        poller.close()
    saver.close()
    if log:
        log.close()


def prepare_process(config: GemConfig, rank: int) -> torch.device:
    """Set up logging, threads and memory of this worker's process; the device it trains on."""
    configure(config.run.log_format, run=config.run.name, rank=rank)
    # Named by its file, so the log level of Ray Train misses it: a line for every report.
    logging.getLogger(context.__file__).setLevel(logging.WARNING)
    torch.set_num_threads(max(1, int(config.train.cpus_per_worker)))
    device = ray.train.torch.get_device()
    keep_freed_memory(device.type)
    return device


def wrap_for_world(parts: Parts) -> None:
    """Wrap what is called in DDP where there are several workers, after the state has been loaded."""
    parts.model = wrap(parts.model)
    for critic in parts.critics.values():
        critic.called = wrap(critic.called)


def wrap(module: nn.Module) -> nn.Module:
    """A module as DDP, where there are several workers, with buckets of gradients that are the same in every step.

    DDP lays them out anew behind the first step of each start, in the order in which gradients came. Three ranks or
    more then sum in another order in that step than in all others, and a resumed run is not the undisturbed one.
    """
    wrapped = ray.train.torch.prepare_model(module, move_to_device=False)
    if isinstance(wrapped, DistributedDataParallel):
        # What DDP does by itself only once; find_unused_parameters=True, which keeps it from it, costs every step.
        wrapped.reducer._push_all_rebuilt_params()
        wrapped.reducer._rebuild_buckets()
    return wrapped


def write_event(log: RunLog | None, event: str | None) -> None:
    """Rank 0 logs what happened, given as JSON, if anything did."""
    if log and event:
        log.event(event)


def write_line(log: RunLog | None, measurements: Measurements, done: int, line: dict[str, Any]) -> None:
    """Rank 0 logs and shows what was measured of the steps since the last line."""
    if log:
        log.measure(done - 1, line)
        measurements.show(done, line)


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
