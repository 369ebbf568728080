"""The plan of a job: what fits, what does not and why, how long it takes and what it costs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gem_ray.config import GemConfig
from gem_ray.data.drawn import DRAWN
from gem_ray.data.manifest import has_manifest, read_manifest
from gem_ray.errors import StorageError
from gem_ray.planning.amounts import (
    Price,
    StoredBytes,
    duration,
    first_questions,
    price_of,
    stored_bytes,
    training_hours,
)
from gem_ray.planning.cluster_file import read_cluster_file
from gem_ray.planning.fitting import Placement, fit, holds, shortage
from gem_ray.planning.memory import WorkerMemory, object_store_bytes, worker_memory
from gem_ray.planning.nodes import OBJECT_STORE_SHARE, ClusterShape, this_machine
from gem_ray.planning.parts import Part, minimum_workers, preparing_parts, training_parts
from gem_ray.planning.rates import Rate, question_rate, training_rate
from gem_ray.storage import Storage
from gem_ray.train.ray_session import local_cpus


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``make_plan`` finds.

    Args:
        data: in words, how many images of which size and who says so
        at_least, at_most: where the parts of training lie at their lowest and highest numbers
        problems: why it cannot work, both sides and the remedy; empty where it can
        warnings: what will work otherwise than one may think
    """

    config: GemConfig
    cluster: ClusterShape
    num_images: int
    image_size: int
    data: str
    parts: tuple[Part, ...]
    at_least: Placement
    at_most: Placement
    memory: WorkerMemory
    object_store: float
    training: Rate
    questions: Rate
    stored: StoredBytes
    price_at_least: Price
    price_at_most: Price
    problems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def workers(self) -> tuple[int, int]:
        """Training workers at least and at most."""
        return minimum_workers(self.config), self.config.train.num_workers

    def hours(self, workers: int) -> float | None:
        """Hours of training with so many workers; None where no rate is known."""
        rate = self.training.per_second
        return None if rate is None else training_hours(self.config, rate, workers)

    @property
    def scan_hours(self) -> float | None:
        """Hours of the first scan by the replicas there are at least; None where no rate is known."""
        rate = self.questions.per_second
        if rate is None:
            return None
        replicas = max(1, self.config.scoring.min_replicas)
        return first_questions(self.config, self.num_images) / (rate * replicas) / 3600


def make_plan(config: GemConfig, cluster: ClusterShape) -> Plan:
    """Reckon everything; nothing is started and nothing written.

    Raises:
        ConfigError: an image size that the networks do not take
    """
    num_images, image_size, said, notes = _data(config)
    training, preparing = training_parts(config), preparing_parts(config)
    at_least = fit([part.at_least() for part in training], cluster)
    at_most = fit([part.at_most() for part in training], cluster)
    problems, warnings = _shortages(training, cluster, at_least, at_most) if cluster.node_types else ([], [])
    for part in preparing if cluster.node_types else ():
        low = fit([part.at_least()], cluster)
        problems += [shortage(part.at_least(), lacking, cluster) for lacking in low.missing.values()]
    memory = worker_memory(config, num_images, image_size, minimum_workers(config))
    store = object_store_bytes(config, num_images, image_size)
    loads = [(at_least, memory), (at_most, worker_memory(config, num_images, image_size, config.train.num_workers))]
    too_small, unknown = _memory_problems(config, cluster, loads, store)
    return Plan(
        config=config,
        cluster=cluster,
        num_images=num_images,
        image_size=image_size,
        data=said,
        parts=(*training, *preparing),
        at_least=at_least,
        at_most=at_most,
        memory=memory,
        object_store=store,
        training=training_rate(config, image_size),
        questions=question_rate(config),
        stored=stored_bytes(config, num_images, image_size),
        price_at_least=price_of(at_least.nodes, cluster, config.plan.prices),
        price_at_most=price_of(at_most.nodes, cluster, config.plan.prices),
        problems=tuple(problems + too_small),
        warnings=tuple(notes + warnings + unknown),
    )


def _data(config: GemConfig) -> tuple[int, int, str, list[str]]:
    """(images, side, where both are from, warnings)."""
    storage = Storage(config.data.uri, config.storage)
    notes: list[str] = []
    try:
        manifest = read_manifest(storage) if has_manifest(storage) else None
    except StorageError as error:  # a plan may be made where the data cannot be seen
        manifest = None
        notes.append(f"data.uri={config.data.uri} cannot be read from here ({error})")
    if manifest is not None:
        count = config.plan.num_images or manifest.num_train(config.data.holdout)
        return count, manifest.shape[0], f"{count:,} images of {manifest.shape[0]} px in {config.data.uri}", notes
    side = config.prepare.image_size
    count = config.plan.num_images or config.prepare.num_images
    if config.prepare.source in DRAWN and not config.plan.num_images:
        return count, side, f"{count:,} images of {side} px that will be drawn", notes
    if not count:
        notes.append("how many images there are is not known: prepare them first, or set plan.num_images")
    return count, side, f"{count:,} images of {side} px, as plan.num_images or prepare.num_images says", notes


def _shortages(
    parts: list[Part], cluster: ClusterShape, at_least: Placement, at_most: Placement
) -> tuple[list[str], list[str]]:
    """(problems, warnings) of where parts find no place."""
    by_name = {part.name: part for part in parts}
    if at_least.missing:
        return [shortage(by_name[name].at_least(), lacking, cluster) for name, lacking in at_least.missing.items()], []
    grown = fit([part.at_least() if part.name == "training" else part.at_most() for part in parts], cluster)
    if grown.missing:
        # The MLLM grows while workers run; a restarted group of workers then waits for what it has taken.
        return [
            "deadlock: the MLLM at its maximum leaves training less than its minimum, which a group of workers that is "
            f"restarted would wait for in vain. {shortage(by_name[name], lacking, cluster)}"
            for name, lacking in grown.missing.items()
        ], []
    return [], [
        f"not all of it at once: {shortage(by_name[name], lacking, cluster)}; until then whoever comes later waits"
        for name, lacking in at_most.missing.items()
    ]


def _memory_problems(
    config: GemConfig, cluster: ClusterShape, loads: list[tuple[Placement, WorkerMemory]], store: float
) -> tuple[list[str], list[str]]:
    """(problems, warnings): nodes too small for the workers on one and the object store, and those of unknown size."""
    worker = training_parts(config)[1]
    problems, warnings = [], []
    for kind in cluster.node_types:
        if not kind.max_count or not holds(kind, worker):
            continue
        if kind.memory is None:
            warnings.append(
                f"memory of node type {kind.name} is not stated, so that nobody knows whether it is enough; add "
                "resources.memory to it in a launcher file, or a limit of memory to its container in a manifest"
            )
            continue
        beside, share = kind.memory * (1 - OBJECT_STORE_SHARE), kind.memory * OBJECT_STORE_SHARE
        shared = [(max(1, placement.together[worker.name][kind.name]), memory) for placement, memory in loads]
        workers, memory = max(shared, key=lambda load: load[1].together(load[0], config.train.use_gpu))
        held = memory.together(workers, config.train.use_gpu)
        if held > beside:
            who = "a training worker holds" if workers == 1 else f"{workers} training workers on one node hold"
            fewer = "raise train.cpus_per_worker so that fewer share one, " if workers > 1 else ""
            problems.append(
                f"memory: {who} {held / 1e9:.1f} GB ({workers * memory.resident / 1e9:.1f} GB of it images), and a "
                f"node {kind.name} has {beside / 1e9:.1f} GB beside Ray's object store; set data.ingest=stream, "
                f"{fewer}or take larger nodes"
            )
        if store > share:
            problems.append(
                f"memory: reading the images once takes {store / 1e9:.1f} GB of object store, and a node {kind.name} "
                f"has {share / 1e9:.1f} GB of it: the rest would be written to its disk; set data.ingest=stream"
            )
    return problems, warnings


def short_form(plan: Plan) -> str:
    """Two lines before a run starts."""
    low, high = plan.workers
    hours = plan.hours(high)
    took = f"about {duration(hours)} ({plan.training.source})" if hours is not None else "no rate known yet"
    host = plan.memory.on_host + plan.memory.on_device
    workers = f"{high}" if low == high else f"{low} to {high}"
    text = (
        f"plan: {plan.data}; {workers} workers of {host / 1e9:.1f} GB; {plan.config.train.steps:,} steps, {took}; "
        f"{plan.stored.total / 1e9:.2f} GB of storage"
    )
    return "\n".join([text, *(f"plan: WARNING: {problem}" for problem in (*plan.problems, *plan.warnings))])


def cluster_of(config: GemConfig) -> ClusterShape:
    """The cluster of ``plan.cluster_file``, else this machine, where a local Ray gets the CPUs that its parts ask for.

    Of a cluster that is joined without a file nothing is known: it has no node types, and nothing is said of fitting.

    Raises:
        ConfigError: a file that cannot be read or holds no cluster
    """
    if config.plan.cluster_file:
        return read_cluster_file(config.plan.cluster_file)
    address = config.run.address or os.environ.get("RAY_ADDRESS")
    if address:
        return ClusterShape(name=f"the cluster at {address}", node_types=())
    return this_machine(local_cpus(config))
