"""What a run goes on from: rank 0 publishes checkpoints, and all ranks resume from the newest whole one."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
import torch.distributed as dist

from gem_ray import telemetry
from gem_ray.checkpoint import Checkpoint, load_checkpoint, put_aside_newer, save_checkpoint
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
    if found:
        put_aside_newer(run, found.step)
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


class Saver:
    """Writes checkpoints while training goes on: one at a time, on rank 0, from a copy of the state.

    Each method but ``close`` is a collective: all ranks call it at the same steps, and learn of a failure together.

    Args:
        log: on rank 0, which writes; None on the others
        report: called on all ranks with the step of a checkpoint that is in storage, whole

    Raises:
        TrainingError: from every collective, on all ranks: the checkpoint under way could not be written
    """

    def __init__(
        self,
        config: GemConfig,
        run: Storage,
        parts: Parts,
        feed: RelationFeed,
        influence: EdgeInfluence,
        log: RunLog | None,
        report: Callable[[int], None],
    ) -> None:
        self._config, self._run, self._parts, self._feed = config, run, parts, feed
        self._influence, self._log, self._report = influence, log, report
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None
        self._step: int | None = None  # of what is under way; known to all ranks

    def begin(self, step: int) -> None:
        """Copy the state and start to write it; waits for the checkpoint before, where that is still under way."""
        self.wait()
        self._step = step
        if self._log is not None:
            self._under_way = self._thread.submit(self._write, self._copied(step), self._log.remote_files())

    def look(self, step: int) -> None:
        """Report what is under way if it is done by now."""
        if self._step is None or step % self._config.graph.refresh_every_steps:
            return
        done = self._under_way is not None and self._under_way.done()
        shared = torch.tensor([done], dtype=torch.uint8, device=self._parts.device)
        dist.broadcast(shared, 0)
        if shared:
            self.wait()

    def wait(self) -> None:
        """Wait for what is under way, if anything is, and report it."""
        if self._step is None:
            return
        failure = b""
        if self._under_way is not None:
            try:
                self._under_way.result()
            except GemRayError as error:
                telemetry.add_count("gem_checkpoint_failures", 1, run=self._config.run.name)
                failure = str(error).encode()
        reason, step = broadcast_bytes(failure, self._parts.device), self._step
        self._step = self._under_way = None
        if reason:
            raise TrainingError(
                f"checkpoint of step {step} could not be written: {reason.decode()}; "
                "the last good checkpoint is kept, make room and run the same command again"
            )
        self._report(step)

    def close(self) -> None:
        """Let a write that is under way end; no collective, since other ranks may be gone."""
        self._thread.shutdown()

    def _copied(self, step: int) -> Checkpoint:
        model, optimizer = state_tensors(self._parts)
        state: dict[str, Any] = {
            "config": config_to_json(self._config),
            "image_size": self._parts.gem.image_size,
            "time": time.time(),
            INFLUENCE: self._influence.take(),
            "world": dist.get_world_size(),
        }
        return Checkpoint(
            step=step,
            model={name: tensor.detach().to("cpu", copy=True) for name, tensor in model.items()},
            optimizer={name: tensor.detach().to("cpu", copy=True) for name, tensor in optimizer.items()},
            graph_json=self._feed.relations.graph.to_json(),
            state=state,
        )

    def _write(self, checkpoint: Checkpoint, beside: dict[str, bytes]) -> None:
        started = time.monotonic()
        num_bytes = save_checkpoint(self._run, checkpoint, self._config.train.keep_checkpoints)
        for name, data in beside.items():
            self._run.write_bytes(name, data)
        graph = DisGraph.from_json(checkpoint.graph_json)
        record_published(self._config.run.name, checkpoint.step, num_bytes, time.monotonic() - started, graph)


def record_published(run_name: str, step: int, num_bytes: int, seconds: float, graph: DisGraph) -> None:
    """Export what a checkpoint took, and how far what the model shows is from the relations it was trained on."""
    telemetry.set_gauge("gem_checkpoint_step", step, run=run_name)
    telemetry.add_count("gem_checkpoint_bytes", num_bytes, run=run_name)
    telemetry.observe("gem_checkpoint_seconds", seconds, run=run_name)
    gap = relation_fidelity(graph)
    if gap is not None:
        telemetry.set_gauge("gem_relation_fidelity_gap", gap, run=run_name)
