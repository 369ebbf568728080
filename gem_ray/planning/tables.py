"""A plan as tables in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gem_ray.planning.amounts import HOURS_A_MONTH, Price, duration, first_questions
from gem_ray.planning.fitting import Placement
from gem_ray.planning.memory import is_streamed
from gem_ray.planning.plan import Plan


def print_plan(plan: Plan, console: Console) -> None:
    """Placement, totals, memory, time and money, storage, and what is wrong."""
    console.print(f"[bold]{plan.cluster.name}[/bold]: {plan.data}", highlight=False)
    for table in (_placement(plan), _totals(plan), _memory(plan), _time(plan), _storage(plan)):
        console.print(table)
    for warning in plan.warnings:
        console.print(f"WARNING: {warning}", style="yellow", markup=False, highlight=False)
    for problem in plan.problems:
        console.print(f"CANNOT WORK: {problem}", style="red", markup=False, highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    return table


def _placement(plan: Plan) -> Table:
    table = _table("Which part runs where", "part", "each", "role", "at least", "at most")
    for part in plan.parts:
        if part.name == "ingest":
            table.add_row(
                part.name, part.each, part.role or "any", "1, before training", f"{part.high}, before training"
            )
            continue
        table.add_row(
            part.name,
            part.each,
            part.role or "any",
            _where(plan.at_least, part.name, part.low),
            _where(plan.at_most, part.name, part.high),
        )
    return table


def _where(placement: Placement, name: str, count: int) -> str:
    places = ", ".join(f"{number} on {kind}" for kind, number in placement.places[name].items())
    lacking = placement.missing.get(name, 0)
    return f"{count}: {places or 'nowhere'}" + (f", {lacking} nowhere" if lacking else "")


def _totals(plan: Plan) -> Table:
    table = _table("Nodes", "node type", "CPUs", "GPUs", "at least", "at most", "the file allows")
    for kind in plan.cluster.node_types:
        table.add_row(
            kind.name + (" (spot)" if kind.spot else ""),
            f"{kind.cpus:g}",
            f"{kind.gpus:g}",
            str(plan.at_least.nodes[kind.name]),
            str(plan.at_most.nodes[kind.name]),
            f"{kind.min_count}-{kind.max_count}",
        )
    training = [part for part in plan.parts if part.name != "ingest"]
    low = (sum(part.low * part.cpus for part in training), sum(part.low * part.gpus for part in training))
    high = (sum(part.high * part.cpus for part in training), sum(part.high * part.gpus for part in training))
    table.add_section()
    table.add_row("asked for: CPUs, GPUs", "", "", f"{low[0]:g}, {low[1]:g}", f"{high[0]:g}, {high[1]:g}", "")
    return table


def _memory(plan: Plan) -> Table:
    table = _table("Memory of one training worker", "what", "GB", "")
    memory, config = plan.memory, plan.config
    place = "GPU" if config.train.use_gpu else "host"
    streamed = is_streamed(config, plan.num_images, plan.image_size)
    rows = (
        ("model", memory.parameters, place),
        ("gradients", memory.gradients, place),
        ("Adam", memory.optimizer, place),
        ("activations, at most", memory.activations, place),
        ("images", memory.resident, "host, a stream" if streamed else "host, all of them in every worker"),
        ("a checkpoint being written, in one worker", memory.saving, "host"),
        ("process", memory.process, "host"),
        ("Ray's object store, once on its nodes", plan.object_store, "host"),
    )
    for name, size, where in rows:
        table.add_row(name, f"{size / 1e9:.3f}", where)
    return table


def _time(plan: Plan) -> Table:
    low, high = plan.workers
    currency = plan.config.plan.currency
    table = _table("Time and money", "", f"{low} workers", f"{high} workers")
    rate = plan.training.per_second
    rates = ["unknown"] * 2 if rate is None else [f"{rate * workers:,.0f}" for workers in (low, high)]
    table.add_row(f"images/s ({plan.training.source})", *rates)
    hours = [plan.hours(workers) for workers in (low, high)]
    table.add_row(f"hours of {plan.config.train.steps:,} steps", *(_duration(value) for value in hours))
    questions = first_questions(plan.config, plan.num_images)
    if questions:
        scan = _duration(plan.scan_hours)
        table.add_row(f"first scan, {questions:,} questions ({plan.questions.source})", scan, scan)
    prices = (plan.price_at_least, plan.price_at_most)
    table.add_row(f"{currency} an hour{_as_of(plan)}", *(_price(price) for price in prices))
    runs = [price.an_hour * value if value is not None else None for price, value in zip(prices, hours)]
    known = [not price.unknown for price in prices]
    table.add_row(
        f"{currency} a run, without starting nodes",
        *(f"{run:,.2f}" if run is not None and ok else "unknown" for run, ok in zip(runs, known)),
    )
    return table


def _duration(hours: float | None) -> str:
    return "unknown" if hours is None else duration(hours)


def _as_of(plan: Plan) -> str:
    return f" (prices of {plan.config.plan.prices_as_of}: check them)" if plan.config.plan.prices_as_of else ""


def _price(price: Price) -> str:
    if not price.unknown:
        return f"{price.an_hour:,.2f}"
    return f"{price.an_hour:,.2f} + {', '.join(price.unknown)}: no plan.prices"


def _storage(plan: Plan) -> Table:
    stored, settings = plan.stored, plan.config.plan
    table = _table("Storage", "what", "GB")
    for name in ("shards", "checkpoints", "scores", "answers", "logs", "report"):
        table.add_row(name, f"{getattr(stored, name) / 1e9:,.3f}")
    table.add_section()
    table.add_row("in all", f"{stored.total / 1e9:,.3f}")
    month = stored.total / 1e12 * settings.price_per_tb_month
    table.add_row(
        f"{settings.currency} a month ({HOURS_A_MONTH:.0f} h)", f"{month:,.2f}" if month else "no price given"
    )
    return table
