"""The one list of metric names, and how a Ray process records them.

Ray exports them to Prometheus as ``ray_<name>`` (counters as ``ray_<name>_total``) and to its dashboard. ray is
imported at the first record, since this module is read by code that must start fast or run without it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

GAUGES = {
    "gem_train_step": "Optimiser steps done",
    "gem_train_images_per_second": "Training images per second over all workers",
    "gem_train_loss": "Total loss per image, in nats",
    "gem_train_reconstruction": "Reconstruction term per image, in nats",
    "gem_train_kl": "Weighted KL term per image, in nats",
    "gem_graph_version": "Version of the DisGraph that training uses",
    "gem_graph_age_seconds": "Seconds since training last changed to a newer DisGraph",
    "gem_graph_store_silence_seconds": "Seconds since the DisGraph store last answered",
    "gem_relation_fidelity_gap": "Mean absolute difference of sampled and prior strength over known edges",
}
COUNTERS = {
    "gem_questions_asked": "Questions sent to the MLLM",
    "gem_questions_missing": "Questions without a usable answer",
    "gem_questions_stored": "Questions answered from the run's store of answers",
    "gem_prompt_tokens": "Prompt tokens of all questions",
    "gem_cached_tokens": "Prompt tokens that the engine's prefix cache held",
    "gem_scoring_money": "Cost of all questions by the configured prices, in their currency",
    "gem_graph_pushes": "Pushes that the store applied",
    "gem_graph_refusals": "Pushes that the store refused, by reason",
    "gem_checkpoint_bytes": "Bytes of checkpoints written",
}
TAGS: dict[str, tuple[str, ...]] = {"gem_graph_refusals": ("run", "reason")}


@cache
def _metric(name: str) -> Any:
    from ray.util import metrics

    tags = TAGS.get(name, ("run",))
    if name in GAUGES:
        return metrics.Gauge(name, description=GAUGES[name], tag_keys=tags)
    return metrics.Counter(name, description=COUNTERS[name], tag_keys=tags)


def set_gauge(name: str, value: float, run: str) -> None:
    """Record the present value of a gauge; an unknown name is a KeyError."""
    GAUGES[name]
    _metric(name).set(float(value), tags={"run": run})


def add_count(name: str, amount: float, run: str, **tags: str) -> None:
    """Add to a counter; an unknown name is a KeyError."""
    COUNTERS[name]
    if amount > 0:
        _metric(name).inc(float(amount), tags={"run": run, **tags})
