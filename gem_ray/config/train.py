"""Workers, steps, and how training follows the DisGraph."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gem_ray.config.checks import check, one_of


@dataclass(kw_only=True)
class TrainConfig:
    """``jobs.train``: workers, steps, precision, checkpoints."""

    steps: int = 3_500
    """Optimiser steps in all."""
    num_workers: int = 2
    """Ray Train workers; each holds the model and a part of every batch. With ``min_workers`` the most there may be."""
    min_workers: int = 0
    """Workers below which training waits: it goes on with fewer than ``num_workers`` where nodes are missing, on
    the same batches, and takes more in as they come. 0 never starts with less than all."""
    grow_every_s: float = 60.0
    """With ``min_workers``: seconds that a group of workers trains at least before it is restarted to take in more."""
    use_gpu: bool = False
    """One GPU a worker with nccl; otherwise CPU workers with gloo."""
    cpus_per_worker: float = 1.0
    """Logical CPUs reserved for one worker; its torch threads are as many, at least one."""
    learning_rate: float = 1e-3
    """Adam, for encoder, decoder, graph network and adjacency."""
    discriminator_learning_rate: float = 1e-4
    """Adam, for the discriminator."""
    precision: str = "auto"
    """Autocast of the networks: ``bf16``, ``fp32``, or ``auto`` (bf16 where the hardware has it). Losses are fp32."""
    compile: bool = False
    """Run the model through torch.compile."""
    channels_last: bool = True
    """Lay out images and weights channels-last, which convolutions on CPU and GPU prefer."""
    fused_adam: bool = True
    """Update all parameters in one fused kernel."""
    seed: int = 0
    """Seed of initial weights, sample order and noise."""
    checkpoint_every_steps: int = 500
    """Steps between checkpoints; after a kill at most two intervals are redone."""
    keep_checkpoints: int = 3
    """Complete checkpoints that are kept."""
    log_every_s: float = 5.0
    """Seconds between two progress lines."""
    log_every_steps: int = 20
    """Steps between two lines of metrics.jsonl and TensorBoard."""
    max_failures: int = 8
    """Worker deaths in a row, without a checkpoint in between, that are recovered from before the run gives up."""

    def __post_init__(self) -> None:
        one_of("train.precision", self.precision, ("auto", "bf16", "fp32"))
        for name in ("steps", "num_workers", "checkpoint_every_steps", "keep_checkpoints", "log_every_steps"):
            check(getattr(self, name) >= 1, f"train.{name}={getattr(self, name)} must be at least 1")
        check(
            0 <= self.min_workers <= self.num_workers,
            f"train.min_workers={self.min_workers} must lie between 0 and train.num_workers={self.num_workers}",
        )
        check(self.grow_every_s >= 0, f"train.grow_every_s={self.grow_every_s} must not be negative")
        check(self.seed >= 0, f"train.seed={self.seed} must not be negative")
        check(self.max_failures >= 0, f"train.max_failures={self.max_failures} must not be negative")
        for name in ("learning_rate", "discriminator_learning_rate"):
            check(0 < getattr(self, name) < math.inf, f"train.{name}={getattr(self, name)} must be positive")


@dataclass(kw_only=True)
class GraphConfig:
    """The DisGraph's store and how training follows it."""

    relations: str = "estimated"
    """What training makes of the DisGraph: ``estimated`` as it is; as controls ``permuted`` (every attribute has the
    relations of another), ``random`` (its weights on other edges), ``symmetric`` or ``none``."""

    poll_every_s: float = 1.0
    """Seconds between two looks of rank 0's background thread at the store."""
    refresh_every_steps: int = 10
    """Steps between two points where all ranks may change to a newer version together."""
    max_staleness: int = 50
    """A push based on a version older than this many versions is refused."""
    max_change: float = 1.0
    """Largest change of one edge's strength by one push; a larger one is clamped."""
    snapshot_every_pushes: int = 20
    """Pushes between two snapshots in storage."""
    keep_versions: int = 1_000
    """Newest versions whose history, diff and rollback stay available, and whose push ids are remembered."""

    def __post_init__(self) -> None:
        one_of("graph.relations", self.relations, ("estimated", "permuted", "random", "symmetric", "none"))
        check(self.poll_every_s > 0, f"graph.poll_every_s={self.poll_every_s} must be positive")
        check(self.refresh_every_steps >= 1, f"graph.refresh_every_steps={self.refresh_every_steps} must be >= 1")
        check(0 < self.max_change <= 2, f"graph.max_change={self.max_change} must lie in (0, 2]")
        check(self.max_staleness >= 0, f"graph.max_staleness={self.max_staleness} must not be negative")
        check(self.snapshot_every_pushes >= 1, f"graph.snapshot_every_pushes={self.snapshot_every_pushes} must be >= 1")
        # A push that is so old that its id is forgotten must be refused as stale, or a late retry would apply it twice.
        check(
            self.keep_versions > self.max_staleness,
            f"graph.keep_versions={self.keep_versions} must be more than graph.max_staleness={self.max_staleness}",
        )
