"""How fast: rates that were given, that an earlier run has written down, or that are timed here and now."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass

import torch

from gem_ray.config import GemConfig
from gem_ray.config_json import config_from_json
from gem_ray.errors import ConfigError, DataError, StorageError
from gem_ray.evaluation.history import METRICS, History, read_history
from gem_ray.storage import Storage
from gem_ray.train.step import Inputs, build_parts, train_step

MEASURED_S = 5.0
FEWEST_STEPS = 3


@dataclass(frozen=True)
class Rate:
    """Something a second by one worker or replica, and where the figure comes from; None where nobody knows."""

    per_second: float | None
    source: str


def training_rate(config: GemConfig, image_size: int) -> Rate:
    """Images a second of one training worker."""
    if config.plan.images_per_second_per_worker is not None:
        return Rate(config.plan.images_per_second_per_worker, "given")
    for run, before, history in _earlier_runs(config):
        rate = rate_of(history)
        same_shape = before.model == config.model and before.train.use_gpu == config.train.use_gpu
        if math.isfinite(rate):
            difference = "" if same_shape else ", which had another model or no GPU alike"
            return Rate(rate, f"measured in the run {run.uri}{difference}")
    if config.plan.measure:
        return Rate(measured_here(config, image_size), "timed on this machine, one worker")
    return Rate(None, "unknown: set plan.images_per_second_per_worker, or plan.measure=true")


def rate_of(history: History) -> float:
    """Images a second of one worker: the median over the log, each line by the workers there were; NaN if unknown."""
    started = [event for event in history.events if event.get("event") == "started" and "world" in event]
    rates = []
    for step, rate in zip(history.column("step"), history.column("images_per_s"), strict=True):
        # The last start at or before a step: one that came later did it again, and its line is the one that is kept.
        world = next((event["world"] for event in reversed(started) if event.get("step", 0) <= step), None)
        if world and rate > 0:
            rates.append(float(rate) / world)
    return statistics.median(rates) if rates else math.nan


def question_rate(config: GemConfig) -> Rate:
    """Questions a second of one replica of the MLLM, while it is asked.

    How many replicas answered is not recorded: it is taken to be all there might be, and said where there may be fewer.
    """
    if config.scoring.scorer != "vllm":
        return Rate(None, f"no MLLM is asked (scoring.scorer={config.scoring.scorer})")
    if config.plan.questions_per_second_per_replica is not None:
        return Rate(config.plan.questions_per_second_per_replica, "given")
    for run, before, history in _earlier_runs(config):
        asked, seconds = history.total("cost_asked"), history.total("cost_seconds")
        if before.scoring.model == config.scoring.model and asked > 0 and seconds > 0:
            low, high = before.scoring.min_replicas, before.scoring.max_replicas
            assumed = "" if low == high else f", as if all of up to {high} replicas had answered"
            return Rate(asked / seconds / high, f"measured in the run {run.uri}{assumed}")
    return Rate(None, "unknown: set plan.questions_per_second_per_replica")


def _earlier_runs(config: GemConfig) -> list[tuple[Storage, GemConfig, History]]:
    """The run of this name and then the others of its folder, newest first; damaged ones are passed over."""
    names = [config.run.name, *_newest_first(config)]
    found = []
    for name in dict.fromkeys(names):
        run = Storage(f"{config.run.uri}/{name}", config.storage)
        try:
            before = config_from_json(run.read_bytes("config.json"))
            found.append((run, before, read_history(run)))
        except (FileNotFoundError, ConfigError, DataError, StorageError):
            continue
    return found


def _newest_first(config: GemConfig) -> list[str]:
    """Names of runs beside this one; only of a local folder, since listing a bucket of runs may take minutes."""
    runs = Storage(config.run.uri, config.storage)
    if not runs.is_local:
        return []
    logs = sorted(runs.local_path.glob(f"*/{METRICS}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.name for path in logs]


def measured_here(config: GemConfig, image_size: int, seconds: float = MEASURED_S) -> float:
    """Images a second of one worker, from training steps on noise on this machine: its share of a batch, its threads.

    All of a step is in it but reading images and the exchange of gradients with other workers.
    """
    device = torch.device("cuda" if config.train.use_gpu and torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(config.train.cpus_per_worker)))
    try:
        parts = build_parts(config, image_size, device)
        inputs = _noise(config, image_size, device, parts.gem.latent_dim, bool(parts.critics))
        times: list[float] = []
        began = time.perf_counter()
        while len(times) < FEWEST_STEPS or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            terms, _, _ = train_step(parts, inputs, config.objective)
            float(terms.total)  # waits for a GPU
            times.append(time.perf_counter() - start)
        return len(inputs.images) / statistics.median(times[1:])
    finally:
        torch.set_num_threads(threads)


def _noise(config: GemConfig, image_size: int, device: torch.device, latent_dim: int, with_critic: bool) -> Inputs:
    """Inputs of one worker's share of a step."""
    workers, nodes = config.train.num_workers, config.model.num_nodes
    batch = max(1, config.data.batch_size // workers)
    scored = max(1, config.objective.align_batch // workers) if config.objective.align_weight > 0 else 0
    images = torch.rand(batch + scored, 3, image_size, image_size, device=device)
    return Inputs(
        images=images[:batch],
        noise=torch.randn(batch, latent_dim, device=device),
        prior_noise=torch.randn(batch, latent_dim, device=device) if with_critic else None,
        strength=torch.zeros(nodes, nodes, device=device),
        confidence=torch.zeros(nodes, nodes, device=device),
        scored_images=images[batch:] if scored else None,
        targets=torch.randn(scored, nodes, device=device) if scored else None,
        step=0,
        num_images=batch * workers,
    )
