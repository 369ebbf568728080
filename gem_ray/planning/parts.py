"""The parts of a job: what each reserves, how many of it there are, and on which nodes it must run."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gem_ray.config import GemConfig


@dataclass(frozen=True, kw_only=True)
class Part:
    """Processes of one kind, each of which lies on one node.

    Args:
        name: for people
        role: role of nodes it must run on, empty for any
        cpus, gpus: logical resources that one of them reserves
        low, high: how many there are at least and at most
        options: what to change where they do not fit
    """

    name: str
    role: str
    cpus: float
    gpus: float
    low: int
    high: int
    options: str

    def at_least(self) -> Part:
        """As many as there always are."""
        return replace(self, high=self.low)

    def at_most(self) -> Part:
        """As many as there may be."""
        return replace(self, low=self.high)

    @property
    def each(self) -> str:
        """What one reserves, in words."""
        gpus = f" and {self.gpus:g} GPU{'s' if self.gpus != 1 else ''}" if self.gpus else ""
        return f"{self.cpus:g} CPU{'s' if self.cpus != 1 else ''}{gpus}"


def minimum_workers(config: GemConfig) -> int:
    """Training workers below which training waits; all of them, where their number is fixed."""
    return config.train.min_workers or config.train.num_workers


def training_parts(config: GemConfig) -> list[Part]:
    """What is there at the same time while a run trains. Store, rescorer and the controllers of Ray reserve nothing."""
    parts = [
        Part(
            name="driver, store, rescorer",
            role=config.placement.coordinators,
            cpus=config.submit.driver_cpus,
            gpus=0.0,
            low=1,
            high=1,
            options="submit.driver_cpus",
        ),
        Part(
            name="training",
            role=config.placement.training,
            cpus=config.train.cpus_per_worker,
            gpus=1.0 if config.train.use_gpu else 0.0,
            low=minimum_workers(config),
            high=config.train.num_workers,
            options="train.num_workers or train.cpus_per_worker",
        ),
    ]
    if config.scoring.scorer == "vllm":
        parts.append(
            Part(
                name="MLLM",
                role=config.placement.mllm,
                cpus=config.scoring.num_cpus,
                gpus=config.scoring.num_gpus,
                low=max(1, config.scoring.min_replicas),  # the first is loaded even where none has to stay
                high=config.scoring.max_replicas,
                options="scoring.max_replicas, scoring.num_gpus or another mllm=",
            )
        )
    return parts


def preparing_parts(config: GemConfig) -> list[Part]:
    """What is there while images are prepared: tasks of Ray Data, of one CPU each, before training starts."""
    return [
        Part(
            name="ingest",
            role=config.placement.ingest,
            cpus=1.0,
            gpus=0.0,
            low=1,
            high=config.prepare.concurrency,
            options="prepare.concurrency",
        )
    ]
