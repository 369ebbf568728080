"""What a run measures between two log lines, reduced over all ranks at once, and the progress line a person reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gem_ray import telemetry
from gem_ray.config import GemConfig, ObjectiveConfig
from gem_ray.errors import TrainingError
from gem_ray.losses.gem import LossTerms, kl_per_dimension
from gem_ray.messages.rescorer import Cost, RescorerStatus
from gem_ray.models.gem import Gem, GemOutputs
from gem_ray.structured_log import note, say
from gem_ray.train.relation_feed import RelationFeed, RelationPoller

T = TypeVar("T")
CRITICS: dict[str, Callable[[ObjectiveConfig], bool]] = {
    "discriminator": lambda objective: objective.adversarial_weight > 0,
    "latent_critic": lambda objective: objective.total_correlation == "critic",
}

PARTS = ("data", "graph", "inputs", "step", "checkpoint")
"""Of a step, by the host's clock: a GPU's work is waited for in "sync", which ``reduce`` adds with "other"."""
BUSY = ("inputs", "step", "sync")


class Measurements:
    """Collects detached terms and host times step by step; ``reduce`` is a collective that ends one window.

    Nothing here waits for the device between two calls of ``reduce``.
    """

    def __init__(self, config: GemConfig, start_step: int, steps_per_epoch: int, gem: Gem) -> None:
        self._config, self._gem, self._steps_per_epoch = config, gem, steps_per_epoch
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._steps: list[int] = []
        self._terms: list[Tensor] = []
        self._posterior: tuple[Tensor, Tensor] | None = None
        self._start_step, self._started = start_step, time.monotonic()
        self._window_started = self._started
        self._shown = 0.0

    def add(self, step: int, terms: LossTerms, critic_losses: dict[str, Tensor], outputs: GemOutputs) -> None:
        """Keep one step's terms on the device; nothing is waited for."""
        off = terms.total.new_zeros(())
        self._steps.append(step)
        self._terms.append(torch.stack([*terms, *(critic_losses.get(name, off) for name in CRITICS)]))
        self._posterior = outputs.mu.detach(), outputs.logvar.detach()

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count the time of the body as one of ``PARTS``."""
        started = time.perf_counter()
        yield
        self._seconds[part] += time.perf_counter() - started

    def waited_for(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, with the time that each is waited for counted as "data"."""
        arriving = iter(batches)
        while True:
            with self.timing("data"):
                batch = next(arriving, None)
            if batch is None:
                return
            yield batch

    def reduce(self, done: int, feed: RelationFeed, poller: RelationPoller | None) -> dict[str, Any]:
        """Means over the window and all ranks, as a line of ``metrics.jsonl``.

        Raises:
            TrainingError: a term that is not finite, naming step and term; on every rank, since the means are shared
        """
        assert self._posterior is not None
        sync_started = time.perf_counter()
        names = [*LossTerms._fields, *CRITICS]
        table, shared, gradient_norm = self._shared(torch.stack(self._terms))
        self._seconds["sync"] = time.perf_counter() - sync_started
        self._check_finite(table, names)
        kl = kl_per_dimension(*self._posterior).cpu()
        num_nodes, node_dim = self._config.model.num_nodes, self._config.model.node_dim
        now = time.monotonic()
        seconds = step_seconds(shared | {"sync": self._seconds["sync"]}, now - self._window_started, len(self._steps))
        num_images = len(self._steps) * self._config.data.batch_size
        line: dict[str, Any] = dict(zip(names, table.mean(dim=0).tolist(), strict=True))
        line |= {name: None for name, is_on in CRITICS.items() if not is_on(self._config.objective)}
        line |= {
            "time": time.time(),
            "epoch": done / self._steps_per_epoch,
            "kl_nodes": kl[: num_nodes * node_dim].view(num_nodes, node_dim).sum(dim=1).tolist(),
            "kl_residual": float(kl[num_nodes * node_dim :].sum()),
            "beta": self._config.objective.beta * min(1.0, done / max(1, self._config.objective.kl_warmup_steps)),
            "images_per_s": num_images / max(now - self._window_started, 1e-9),
            "graph_version": feed.relations.graph.version,
            "graph_age_s": feed.age_s,
            "gradient_norm": gradient_norm,
            "idle_share": idle_share(seconds),
            **{f"seconds_{part}": value for part, value in seconds.items()},
        }
        line |= scoring_fields(poller.rescorer if poller else None)
        line["store_silence_s"] = poller.silence_s if poller else 0.0
        self._steps, self._terms, self._window_started = [], [], now
        self._seconds = dict.fromkeys(PARTS, 0.0)
        return line

    def _shared(self, terms: Tensor) -> tuple[Tensor, dict[str, float], float]:
        """What all ranks agree on, by one collective: means of terms [S, T] and of host times, and the gradient norm.

        The gradient is that of the last step, which is there until the next begins, and the same on every rank.
        """
        gradients = [p.grad for p in self._gem.trained_parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients).reshape(1).to(terms.device)
        times = torch.tensor([self._seconds[part] for part in PARTS], dtype=terms.dtype, device=terms.device)
        packed = torch.cat([terms.flatten(), times, norm])
        dist.all_reduce(packed)
        packed = (packed / dist.get_world_size()).cpu()
        table = packed[: terms.numel()].view(terms.shape)
        *seconds, gradient_norm = packed[terms.numel() :].tolist()
        return table, dict(zip(PARTS, seconds, strict=True)), gradient_norm

    def _check_finite(self, table: Tensor, names: list[str]) -> None:
        if bool(torch.isfinite(table).all()):
            return
        row = int((~torch.isfinite(table)).any(dim=1).nonzero()[0])
        # The sum is not finite whenever a part is: name the part.
        parts = [n for n, value in zip(names, table[row], strict=True) if not torch.isfinite(value) and n != "total"]
        if dist.get_rank() == 0:
            term = (parts or ["total"])[0]
            telemetry.add_count("gem_train_not_finite", 1, run=self._config.run.name, term=term)
        raise TrainingError(
            f"loss term {(parts or ['total'])[0]!r} is not finite at step {self._steps[row]}; "
            f"lower train.learning_rate (now {self._config.train.learning_rate}) or look at the data; "
            "the last checkpoint is from before"
        )

    def show(self, step: int, line: dict[str, Any]) -> None:
        """Print a progress line at most every ``train.log_every_s`` seconds, and export the gauges."""
        now = time.monotonic()
        record_line(line, step, self._config, dist.get_world_size())
        note(step=step, graph_version=line["graph_version"])
        total = self._config.train.steps
        if now - self._shown < self._config.train.log_every_s and step < total:
            return
        self._shown = now
        rate = (step - self._start_step) / max(now - self._started, 1e-9)
        left = (total - step) / max(rate, 1e-9)
        numbers = {name: line[name] for name in ("total", "reconstruction", "kl", "images_per_s", "questions_asked")}
        say(progress_line(line, step, total, left), **numbers, eta_s=round(left))


def step_seconds(parts: dict[str, float], elapsed_s: float, num_steps: int) -> dict[str, float]:
    """Seconds of one step by part; "other" is what none of the parts accounts for."""
    known = {part: value / num_steps for part, value in parts.items()}
    return known | {"other": max(0.0, elapsed_s / num_steps - sum(known.values()))}


def idle_share(seconds: dict[str, float]) -> float:
    """Share of a step's time in which it made no progress."""
    whole = sum(seconds.values())
    return 1.0 - sum(seconds[part] for part in BUSY) / whole if whole else 0.0


def record_line(line: dict[str, Any], step: int, config: GemConfig, num_workers: int) -> None:
    """Export a line of ``metrics.jsonl``."""
    gauge = partial(telemetry.set_gauge, run=config.run.name)
    gauge("gem_train_step", step)
    gauge("gem_train_steps_wanted", config.train.steps)
    gauge("gem_train_workers", num_workers)
    gauge("gem_checkpoint_interval_steps", config.train.checkpoint_every_steps)
    gauge("gem_train_images_per_second", line["images_per_s"])
    gauge("gem_train_idle_share", line["idle_share"])
    for part in (*PARTS, "sync", "other"):
        gauge("gem_train_step_seconds", line[f"seconds_{part}"], part=part)
    gauge("gem_train_loss", line["total"])
    for term in LossTerms._fields:
        if term != "total":
            gauge("gem_train_loss_term", line[term], term=term)
    for node, kl in zip([*config.model.attributes, "residual"], [*line["kl_nodes"], line["kl_residual"]], strict=True):
        gauge("gem_train_kl_node", kl, node=node)
    gauge("gem_train_gradient_norm", line["gradient_norm"])
    gauge("gem_train_graph_version", line["graph_version"])
    gauge("gem_train_graph_age_seconds", line["graph_age_s"])
    gauge("gem_train_store_silence_seconds", line["store_silence_s"])


def scoring_fields(status: RescorerStatus | None) -> dict[str, Any]:
    """How far the rescorer is and what it has cost, for a line of ``metrics.jsonl``; zeros before it says anything."""
    cost = status.cost if status else Cost()
    return {
        "questions_asked": cost.asked,
        "questions_missing": cost.failed,
        "rescorer_phase": status.phase if status else None,
        "useful_changes": status.useful_changes if status else 0,
        "looks_evicted": status.evicted if status else 0,
        "budget_left": status.budget_left if status else None,
        **{f"cost_{field.name}": getattr(cost, field.name) for field in fields(Cost)},
    }


def progress_line(line: dict[str, Any], step: int, total: int, left_s: float) -> str:
    """One line for a person: step, terms, images/s, ETA, graph version and age, questions asked."""
    minutes, seconds = divmod(int(left_s), 60)
    return (
        f"step {step:>6}/{total} {100 * step / total:3.0f}%  loss {line['total']:8.1f}  "
        f"rec {line['reconstruction']:8.1f}  kl {line['kl']:6.1f}  graph {line['graph']:5.2f}  "
        f"align {line['align']:6.1f}  {line['images_per_s']:7,.0f} img/s  ETA {minutes:d}:{seconds:02d}  "
        f"DisGraph v{line['graph_version']} ({line['graph_age_s']:.0f} s)  "
        f"asked {line['questions_asked']:,}"
    )
