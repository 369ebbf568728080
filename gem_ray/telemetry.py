"""The one list of metrics, and how a process that Ray runs records them.

Ray exports them to Prometheus as ``ray_<name>`` (counters as ``ray_<name>_total``); ``docs/metrics.md`` is this list as
a table (``python -m gem_ray.telemetry``). A process without a Ray records nothing, since nobody could read it there.
ray is imported by nobody here: this module is read by code that must start fast.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Protocol

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Bounds of the histograms: from an answer of a warm engine to a request that has nearly missed its deadline."""


class Kind(StrEnum):
    """How values follow each other."""

    GAUGE = "gauge"  # the present value
    COUNTER = "counter"  # only rises; read it with rate() or increase()
    HISTOGRAM = "histogram"  # of values in bounds; Ray keeps bounds only, so _sum is a rough figure


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One entry of the list.

    Args:
        name: without Ray's prefix
        unit: of the values, in words
        labels: that every series of it has, besides Ray's own
        part: the heading it stands under in the table
    """

    name: str
    kind: Kind
    unit: str
    help: str
    part: str
    labels: tuple[str, ...] = ("run",)

    @property
    def series(self) -> str:
        """Name in Prometheus, without a histogram's endings."""
        return f"ray_{self.name}" + ("_total" if self.kind is Kind.COUNTER else "")


def _listed(part: str, *rows: tuple[str, Kind, str, str] | tuple[str, Kind, str, str, tuple[str, ...]]) -> list[Metric]:
    return [
        Metric(part=part, name=name, kind=kind, unit=unit, help=text, **({"labels": labels[0]} if labels else {}))
        for name, kind, unit, text, *labels in rows
    ]


G, C, H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *_listed(
            "Training",
            ("gem_train_step", G, "steps", "Optimiser steps done"),
            ("gem_train_steps_wanted", G, "steps", "Optimiser steps of the whole run"),
            ("gem_train_workers", G, "workers", "Workers of the present group"),
            ("gem_train_images_per_second", G, "images/s", "Training images over all workers"),
            (
                "gem_train_step_seconds",
                G,
                "seconds",
                "Host time of a step by part, mean over workers and a log window: data (waiting for the next batch), "
                "graph (changing to a newer DisGraph), inputs, step (forward, backward, update), checkpoint; and of "
                "rank 0 sync (waiting for workers and device at the window's end) and other; they add up to all of it",
                ("run", "part"),
            ),
            (
                "gem_train_idle_share",
                G,
                "share",
                "Share of the time that was neither inputs, step nor sync, in [0, 1]",
            ),
            ("gem_train_loss", G, "nats/image", "Total loss"),
            ("gem_train_loss_term", G, "nats/image", "Each term of the loss, weighted", ("run", "term")),
            ("gem_train_kl_node", G, "nats/image", "KL of each node, and of the residual latents", ("run", "node")),
            ("gem_train_gradient_norm", G, "nats/image", "Norm of the gradient of the last step of a log window"),
            ("gem_train_not_finite", C, "losses", "Losses that were not finite; each ends the run", ("run", "term")),
            ("gem_train_restarts", C, "restarts", "Worker groups that Ray starts anew", ("run", "cause")),
            ("gem_train_graph_version", G, "version", "Version of the DisGraph that training uses"),
            ("gem_train_graph_age_seconds", G, "seconds", "Since training changed to that version"),
            ("gem_train_store_silence_seconds", G, "seconds", "Since the DisGraph's store last answered training"),
            ("gem_checkpoint_step", G, "steps", "Step of the newest whole checkpoint"),
            ("gem_checkpoint_interval_steps", G, "steps", "train.checkpoint_every_steps"),
            (
                "gem_checkpoint_seconds",
                H,
                "seconds",
                "Writing a checkpoint, beside the steps; counts them too",
            ),
            ("gem_checkpoint_bytes", C, "bytes", "Bytes of checkpoints written"),
            ("gem_checkpoint_failures", C, "failures", "Checkpoints that could not be written; each ends the run"),
        ),
        *_listed(
            "Data and storage",
            ("gem_data_images_prepared", C, "images", "Images that jobs.prepare has put into shards", ()),
            ("gem_data_images_skipped", C, "images", "Images that cannot be used, by cause", ("cause",)),
            ("gem_data_bytes_written", C, "bytes", "Bytes of shards written by jobs.prepare", ()),
            ("gem_data_bytes_read", C, "bytes", "Bytes of shards read and checked", ()),
            (
                "gem_data_shards_damaged",
                C,
                "shards",
                "Shards whose bytes are not those of the manifest, or missing",
                (),
            ),
            ("gem_storage_retries", C, "tries", "Storage operations that are tried again", ("operation",)),
            ("gem_storage_failures", C, "operations", "Storage operations that were given up", ("operation",)),
        ),
        *_listed(
            "DisGraph",
            ("gem_graph_version", G, "version", "Version that the store holds"),
            ("gem_graph_pushes", C, "pushes", "Pushes that the store applied, by kind of evidence", ("run", "kind")),
            ("gem_graph_refusals", C, "pushes", "Pushes that the store refused, by reason", ("run", "reason")),
            ("gem_graph_churn", C, "strength", "Sum of the absolute changes of all edges' strengths"),
            ("gem_graph_confidence", G, "share", "Mean confidence of all edges, in [0, 1]"),
            ("gem_graph_known_edges", G, "edges", "Edges about which there is evidence"),
            ("gem_graph_snapshot_failures", C, "snapshots", "Snapshots that could not be written; the journal has all"),
            (
                "gem_relation_fidelity_gap",
                G,
                "strength",
                "Mean absolute difference between what the model's images show and the prior, over known edges",
            ),
        ),
        *_listed(
            "MLLM",
            ("gem_questions_asked", C, "questions", "Questions sent to the MLLM"),
            (
                "gem_questions_missing",
                C,
                "questions",
                "Questions without a usable answer, by reason",
                ("run", "reason"),
            ),
            ("gem_questions_stored", C, "questions", "Questions answered from the run's store of answers"),
            ("gem_questions_under_way", G, "questions", "Questions that the MLLM has been sent and has not answered"),
            (
                "gem_question_request_seconds",
                H,
                "seconds",
                "From sending a request (a batch of questions) to its answers",
            ),
            ("gem_question_deadline_seconds", G, "seconds", "scoring.deadline_s"),
            (
                "gem_question_request_failures",
                C,
                "requests",
                "Requests that came back without answers",
                ("run", "cause"),
            ),
            ("gem_prompt_tokens", C, "tokens", "Prompt tokens of all questions"),
            ("gem_cached_tokens", C, "tokens", "Prompt tokens that the engine's prefix cache held"),
            ("gem_scoring_money", C, "money", "Cost of all questions by the configured prices, in their currency"),
            ("gem_scoring_waiting", G, "0 or 1", "1 while the MLLM does not answer"),
            ("gem_scoring_budget", G, "questions/minute", "scoring.questions_per_minute; only where that is set"),
            ("gem_scoring_budget_left", G, "questions", "Questions that may be asked this minute"),
            ("gem_scoring_images", G, "images", "Data images in the table of scores"),
            ("gem_scoring_rounds", G, "rounds", "Rounds finished since the rescorer started"),
        ),
        *_listed(
            "Gateway",
            ("gem_gateway_requests", C, "requests", "Requests answered, by HTTP status", ("run", "status")),
            ("gem_gateway_seconds", H, "seconds", "From a request to the start of its answer"),
        ),
    )
}


class Record(Protocol):
    """``add_count`` or ``observe`` with the labels of a run already given."""

    def __call__(self, name: str, value: float, /, **labels: str) -> None:
        """Record a value of a metric."""
        ...


def unrecorded(name: str, value: float, /, **labels: str) -> None:
    """A ``Record`` for work that is no run's."""


def set_gauge(name: str, value: float, **labels: str) -> None:
    """Record the present value of a gauge; an unknown name is a KeyError, a wrong label a ValueError."""
    _expect(name, Kind.GAUGE, labels)
    if _ray_is_up():
        _metric(name).set(float(value), tags=labels)


def add_count(name: str, amount: float, **labels: str) -> None:
    """Add to a counter; an unknown name is a KeyError, a wrong label a ValueError. Nothing is recorded for 0."""
    _expect(name, Kind.COUNTER, labels)
    if amount > 0 and _ray_is_up():
        _metric(name).inc(float(amount), tags=labels)


def observe(name: str, value: float, **labels: str) -> None:
    """Add a value to a histogram; an unknown name is a KeyError, a wrong label a ValueError."""
    _expect(name, Kind.HISTOGRAM, labels)
    if _ray_is_up():
        _metric(name).observe(float(value), tags=labels)


def table() -> str:
    """The list as Markdown, a table for each part."""
    lines: list[str] = []
    for part in dict.fromkeys(metric.part for metric in METRICS.values()):
        lines += [
            f"## {part}",
            "",
            "| in Prometheus | kind | unit | labels | meaning |",
            "| --- | --- | --- | --- | --- |",
        ]
        for metric in METRICS.values():
            if metric.part == part:
                labels = ", ".join(metric.labels) or "none"
                lines.append(f"| `{metric.series}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _expect(name: str, kind: Kind, labels: dict[str, str]) -> None:
    metric = METRICS[name]
    if metric.kind is not kind:
        raise KeyError(f"{name} is a {metric.kind}, not a {kind}")
    if labels.keys() != set(metric.labels):  # Ray takes a label more in silence
        raise ValueError(f"{name} has the labels {metric.labels}, not {tuple(labels)}")


def _ray_is_up() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@cache
def _metric(name: str) -> Any:
    metrics = importlib.import_module("ray.util.metrics")
    metric = METRICS[name]
    if metric.kind is Kind.HISTOGRAM:
        return metrics.Histogram(name, description=metric.help, boundaries=list(SECONDS), tag_keys=metric.labels)
    made = {Kind.GAUGE: metrics.Gauge, Kind.COUNTER: metrics.Counter}[metric.kind]
    return made(name, description=metric.help, tag_keys=metric.labels)


if __name__ == "__main__":
    print(table(), end="")
