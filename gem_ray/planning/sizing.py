"""How a run grows with its data, by calculation: the table of docs/operations.md.

``python -m gem_ray.planning.sizing`` prints it, and a test holds the document against it. Every figure below is an
assumption; those that were measured say where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gem_ray.config import GemConfig
from gem_ray.planning.amounts import ITEM, duration, training_hours
from gem_ray.planning.memory import FLOAT, data_bytes, is_streamed, num_parameters

SIDE, ATTRIBUTES, EPOCHS, BATCH = 64, 6, 20, 128  # pixels, nodes, passes, images a worker and step
CPU_RATE = 520.0  # images/s of one CPU worker: 1,045 of two, docs/results.md
GPU_RATE = 10_000.0  # images/s of one GPU: assumed, not measured
PREPARE_RATE = 650.0  # images/s of one ingest CPU: 1,300 of two, docs/results.md
QUESTION_RATE = 360.0  # questions/s of one replica of the nano model: 45,696 in 127 s, docs/results.md
LISTED_ITEM = 324.0  # bytes of one listed image in the driver, measured with tracemalloc on 100,000 of them
DRIVER_MEMORY = 8e9  # half of a coordinator of 16 GB
GETS = 5_500.0  # a second on one prefix: what AWS states of S3
SHARD = 64e6
POLL_S, POLL_EVERY_S = 0.0007, 0.5  # one call of an actor (docs/results.md); RAY_TRAIN_HEALTH_CHECK_INTERVAL_S
INTERRUPTED_AN_HOUR = 0.05  # of spot nodes: assumed
RESTART_S = 35.0  # 12 s until a dead worker is replaced and 23 s that a start of Ray Train costs
REDONE_S = 60.0  # one interval between checkpoints, on average, of two at most
LOST_SHARE = 0.10  # of the time, that restarts may cost
NETWORK, LATENCY_S = 25e9 / 8, 50e-6  # bytes/s and seconds of a message between workers: assumed
EXCHANGE_SHARE = 0.20  # of a step, that the exchange of gradients may cost
LARGEST_BATCH = 8_192.0  # images up to which more workers are taken to learn as much an image: assumed
PATIENCE_H = 24.0
GPU_PRICE = 0.45  # USD an hour of a spot GPU, from memory


@dataclass(frozen=True)
class Scale:
    """A size of data with the workers and the CPUs for preparing that one would give it."""

    images: int
    workers: int
    gpu: bool
    ingest_cpus: int

    @property
    def rate(self) -> float:
        """Images/s of one worker."""
        return GPU_RATE if self.gpu else CPU_RATE

    @property
    def hours(self) -> float:
        """Hours of all epochs: images x epochs / (workers x rate)."""
        steps = round(self.images * EPOCHS / BATCH)
        config = GemConfig()
        config.train.steps, config.data.batch_size = steps, BATCH
        return training_hours(config, self.rate, self.workers)

    @property
    def shard_bytes(self) -> float:
        """images x (3 side^2 + 8)."""
        return data_bytes(self.images, SIDE) + ITEM * self.images

    @property
    def prepare_hours(self) -> float:
        """images / (CPUs x rate)."""
        return self.images / (self.ingest_cpus * PREPARE_RATE) / 3600

    @property
    def scan_hours(self) -> float:
        """Hours of one replica for the scores of every image: images x attributes / rate."""
        return self.images * ATTRIBUTES / QUESTION_RATE / 3600


SCALES = (
    Scale(10**4, 2, False, 2),
    Scale(10**5, 2, False, 2),
    Scale(10**6, 1, True, 16),
    Scale(10**7, 8, True, 64),
    Scale(10**8, 64, True, 64),
    Scale(10**9, 1_000, True, 512),
)


@dataclass(frozen=True)
class Limit:
    """How much of a bound is used: 1 is where it breaks."""

    name: str
    used: float


def limits(scale: Scale) -> list[Limit]:
    """Everything that grows with data or workers, most used first.

    listing: images x 324 bytes of the driver's memory; restarts: workers x interruptions x (restart + redone) of the
    time; exchange: (2 (W - 1) / W x 4 P / network + 2 log2 W x latency) of a step of B / rate; polls: W x 0.7 ms of
    the half second between two; reads: W x rate x bytes / shard of the requests of a prefix; batch: W x B images.
    """
    workers, spot = scale.workers, scale.gpu
    ring = 2 * (workers - 1) / workers * FLOAT * num_parameters(GemConfig(), SIDE) / NETWORK
    exchange = (ring + 2 * math.log2(workers) * LATENCY_S) / (BATCH / scale.rate)
    restarts = workers * INTERRUPTED_AN_HOUR * (RESTART_S + REDONE_S) / 3600 if spot else 0.0
    reads = workers * scale.rate * (scale.shard_bytes / scale.images) / SHARD
    found = [
        Limit("listing", scale.images * LISTED_ITEM / DRIVER_MEMORY),
        Limit("restarts", restarts / LOST_SHARE),
        Limit("exchange", exchange / EXCHANGE_SHARE if spot else 0.0),
        Limit("polls", workers * POLL_S / POLL_EVERY_S),
        Limit("reads", reads / GETS),
        Limit("batch", workers * BATCH / LARGEST_BATCH),
        Limit("patience", scale.hours / PATIENCE_H),
    ]
    return sorted(found, key=lambda limit: -limit.used)


def breaking(scale: Scale) -> str:
    """What is over its bound, worst first; the nearest one where nothing is."""
    found = limits(scale)
    broken = [f"{limit.name} {limit.used:.1f} x" for limit in found if limit.used > 1]
    return ", ".join(broken) or f"nothing; nearest: {found[0].name}, {found[0].used:.0%}"


def sizing_table() -> str:
    """The table in Markdown."""
    lines = [
        "| images | workers | shards | read | prepare | 20 epochs | spot USD | scored, one replica | what breaks |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for scale in SCALES:
        streamed = is_streamed(GemConfig(), scale.images, SIDE)
        workers = f"{scale.workers:,} GPU{'s' if scale.workers > 1 else ''}" if scale.gpu else f"{scale.workers} CPUs"
        money = f"{scale.workers * scale.hours * GPU_PRICE:,.2f}" if scale.gpu else "-"
        cells = (
            f"10^{round(math.log10(scale.images))}",
            workers,
            f"{scale.shard_bytes / 1e9:,.1f} GB",
            "stream" if streamed else "memory",
            f"{duration(scale.prepare_hours)}, {scale.ingest_cpus} CPUs",
            duration(scale.hours),
            money,
            duration(scale.scan_hours),
            breaking(scale),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(sizing_table())
