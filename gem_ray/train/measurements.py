"""What a run measures between two log lines, reduced over all ranks at once, and the progress line a person reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gem_ray import telemetry
from gem_ray.config import GemConfig, ObjectiveConfig
from gem_ray.errors import TrainingError
from gem_ray.losses.gem import LossTerms, kl_per_dimension
from gem_ray.messages import Cost, RescorerStatus
from gem_ray.models.gem import GemOutputs
from gem_ray.train.relation_feed import RelationFeed, RelationPoller

CRITICS: dict[str, Callable[[ObjectiveConfig], bool]] = {
    "discriminator": lambda objective: objective.adversarial_weight > 0,
    "latent_critic": lambda objective: objective.total_correlation == "critic",
}


class Measurements:
    """Collects detached terms step by step; ``reduce`` is a collective that ends one window."""

    def __init__(self, config: GemConfig, start_step: int, steps_per_epoch: int, device: torch.device) -> None:
        self._config, self._device, self._steps_per_epoch = config, device, steps_per_epoch
        self._steps: list[int] = []
        self._terms: list[Tensor] = []
        self._outputs: GemOutputs | None = None
        self._start_step, self._started = start_step, time.monotonic()
        self._window_started = self._started
        self._shown = 0.0

    def add(self, step: int, terms: LossTerms, critic_losses: dict[str, Tensor], outputs: GemOutputs) -> None:
        """Keep one step's terms on the device; nothing is waited for."""
        off = terms.total.new_zeros(())
        self._steps.append(step)
        self._terms.append(torch.stack([*terms, *(critic_losses.get(name, off) for name in CRITICS)]))
        self._outputs = outputs

    def reduce(self, done: int, feed: RelationFeed, poller: RelationPoller | None) -> dict[str, Any]:
        """Means over the window and all ranks, as a line of ``metrics.jsonl``.

        Raises:
            TrainingError: a term that is not finite, naming step and term; on every rank, since the means are shared
        """
        assert self._outputs is not None
        stacked = torch.stack(self._terms)
        dist.all_reduce(stacked)
        table = (stacked / dist.get_world_size()).cpu()
        names = [*LossTerms._fields, *CRITICS]
        self._check_finite(table, names)
        kl = kl_per_dimension(self._outputs.mu.detach(), self._outputs.logvar.detach()).cpu()
        num_nodes, node_dim = self._config.model.num_nodes, self._config.model.node_dim
        now = time.monotonic()
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
        }
        line |= scoring_fields(poller.rescorer if poller else None)
        line["store_silence_s"] = poller.silence_s if poller else 0.0
        self._steps, self._terms, self._window_started = [], [], now
        return line

    def _check_finite(self, table: Tensor, names: list[str]) -> None:
        if bool(torch.isfinite(table).all()):
            return
        row = int((~torch.isfinite(table)).any(dim=1).nonzero()[0])
        # The sum is not finite whenever a part is: name the part.
        parts = [n for n, value in zip(names, table[row], strict=True) if not torch.isfinite(value) and n != "total"]
        raise TrainingError(
            f"loss term {(parts or ['total'])[0]!r} is not finite at step {self._steps[row]}; "
            f"lower train.learning_rate (now {self._config.train.learning_rate}) or look at the data; "
            "the last checkpoint is from before"
        )

    def show(self, step: int, line: dict[str, Any]) -> None:
        """Print a progress line at most every ``train.log_every_s`` seconds, and export the gauges."""
        now = time.monotonic()
        run = self._config.run.name
        telemetry.set_gauge("gem_train_step", step, run)
        telemetry.set_gauge("gem_train_images_per_second", line["images_per_s"], run)
        telemetry.set_gauge("gem_train_loss", line["total"], run)
        telemetry.set_gauge("gem_train_reconstruction", line["reconstruction"], run)
        telemetry.set_gauge("gem_train_kl", line["kl"], run)
        telemetry.set_gauge("gem_graph_version", line["graph_version"], run)
        telemetry.set_gauge("gem_graph_age_seconds", line["graph_age_s"], run)
        telemetry.set_gauge("gem_graph_store_silence_seconds", line["store_silence_s"], run)
        total = self._config.train.steps
        if now - self._shown < self._config.train.log_every_s and step < total:
            return
        self._shown = now
        rate = (step - self._start_step) / max(now - self._started, 1e-9)
        left = (total - step) / max(rate, 1e-9)
        print(progress_line(line, step, total, left), flush=True)


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
