"""The figures G1 to G7 and G9 of the design, each beside the ceiling or the figure it is to be read against."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.gpu import ingest, traffic
from benchmarks.gpu.ceilings import Ceilings
from benchmarks.gpu.steps import EAGER, FAST, PLAIN, Stepper, stepper
from benchmarks.gpu.timing import in_turn, median, step_times, synchronize
from gem_ray.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Args:
        value: as its unit says
        target: least or, with ``at_most``, greatest value that is wanted; None where the value only explains another
    """

    name: str
    what: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class Setting:
    """The device, how often is measured, and sizes: all shrink with ``quick``, so that a test can run everything."""

    device: torch.device
    repeats: int
    quick: bool

    @property
    def graphs(self) -> bool:
        """Whether a step can be captured."""
        return self.device.type == "cuda"

    def batch(self, full: int) -> int:
        """Images of a step."""
        return 2 if self.quick else full

    def steps(self, full: int) -> int:
        """Steps in one timing."""
        return min(full, 2) if self.quick else full


def host_ingest(s: Setting, ceilings: Ceilings) -> Iterator[Figure]:
    """G1: steps on batches out of host memory over steps on a resident batch."""
    for side, target, full in ((64, 0.95, 1024), (128, 0.95, 512), (256, 0.9, 128))[: 1 if s.quick else 3]:
        batch, steps = s.batch(full), s.steps(20)
        fast = stepper(EAGER if s.quick else FAST, s.device, batch, side, graphed=s.graphs)
        ahead = ingest.Ahead(ingest.host_batches(batch * 16, batch, side), s.device)
        sources = {"plain": ingest.plain(ingest.host_batches(batch * 16, batch, side), s.device), "ahead": iter(ahead)}

        def fed(source: Iterator[torch.Tensor], fast: Stepper = fast) -> None:
            fast.inputs.images.copy_(next(source))
            fast.run()

        actions: dict[str, Callable[[], object]] = {"resident": fast.run}
        actions |= {name: partial(fed, source) for name, source in sources.items()}
        # More calls before each timing than batches that were made ahead of it.
        found = in_turn(actions, s.device, s.repeats, steps, warmup=s.steps(10))
        ahead.close()
        resident = statistics.median(found["resident"])
        for name, goal in (("ahead", target), ("plain", None)):
            share = statistics.median(r / t for r, t in zip(found["resident"], found[name], strict=True))
            what = f"steps with a host batch {'pinned and uploaded ahead' if name == 'ahead' else 'taken when needed'}"
            yield Figure(
                name=f"G1 {side} px, {name}",
                what=f"{what}, batch {batch}, over resident",
                value=share,
                unit="",
                target=goal,
            )
        yield Figure(name=f"G1 {side} px, rate", what="resident", value=batch / resident, unit="images/s")
        bound = ceilings.upload / (3 * side * side)
        yield Figure(name=f"G1 {side} px, ceiling", what="what the bus could bring", value=bound, unit="images/s")


def gather(s: Setting, ceilings: Ceilings) -> Iterator[Figure]:
    """G2: gather, cast and normalise of resident bytes, as a part of the step and of the copy bandwidth."""
    batch, side, records = s.batch(1024), 64, 64 if s.quick else 65_536
    rows = torch.randint(0, 256, (records, side * side * 3), dtype=torch.uint8, device=s.device)
    index = torch.randint(0, records, (batch,), device=s.device)

    def cast(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return rows[index].to(torch.float32).div(255.0)

    fused = cast if s.quick else torch.compile(cast)
    fused(rows, index)
    taken = median(captured_or(lambda: fused(rows, index), s), s.device, s.repeats, s.steps(50))
    form = stepper(EAGER if s.quick else FAST, s.device, batch, side, s.graphs)
    step = median(form.run, s.device, s.repeats, s.steps(20))
    moved = batch * side * side * 3 * (1 + 4)  # bytes read, floats written
    what = f"gather, cast and normalise of {batch} resident images"
    yield Figure(name="G2 share", what=f"{what} over a step", value=taken / step, unit="", target=0.05, at_most=True)
    yield Figure(
        name="G2 bandwidth", what=f"{what} over a copy", value=moved / taken / ceilings.copy, unit="", target=0.7
    )


def forms(s: Setting, _: Ceilings) -> Iterator[Figure]:
    """G3: the fast form over plain fp32, what each part of it gives, and that it learns the same."""
    batch, steps = s.batch(256), s.steps(20)
    made = {"plain": stepper(PLAIN, s.device, batch, 64), "eager bf16": stepper(EAGER, s.device, batch, 64)}
    if not s.quick:
        made["compiled bf16"] = stepper(FAST, s.device, batch, 64)
    if s.graphs:
        made["graphed bf16"] = stepper(FAST, s.device, batch, 64, graphed=True)
    found = in_turn({name: form.run for name, form in made.items()}, s.device, s.repeats, steps)
    best = list(made)[-1]
    for name in list(made)[1:]:
        gain = statistics.median(a / b for a, b in zip(found["plain"], found[name], strict=True))
        goal = 3.0 if name == best else None
        yield Figure(name=f"G3 {name}", what=f"over fp32, NCHW, eager, batch {batch}", value=gain, unit="", target=goal)
    curves = {
        name: torch.tensor([learned(train, s, seed, graphed) for seed in range(3)])
        for name, train, graphed in (("fp32", PLAIN, False), ("bf16", EAGER if s.quick else FAST, s.graphs))
    }
    gap = (curves["bf16"] - curves["fp32"]).mean().abs()
    noise = curves["fp32"].std() / 3**0.5 + 1e-6 * curves["fp32"].mean().abs()
    what = f"gap of the loss after training between {best} and fp32, over its standard error over three seeds"
    yield Figure(name="G3 same loss", what=what, value=float(gap / noise), unit="", target=2.0, at_most=True)


def learned(train: TrainConfig, s: Setting, seed: int, graphed: bool) -> float:
    """Mean loss of the last steps of a short training on one batch."""
    form = stepper(train, s.device, s.batch(128), 64, graphed, seed=seed)
    steps = s.steps(300)
    last = []
    for _ in range(steps):
        form.run()
        last.append(form.losses[-1].clone())
    return float(torch.stack(last[-max(1, steps // 10) :]).mean())


def roofline(s: Setting, ceilings: Ceilings) -> Iterator[Figure]:
    """G4 and G5: the step over what arithmetic or memory allow, and images a second by batch."""
    for full in (4096,) if s.quick else (256, 1024, 4096):
        batch = s.batch(full)
        flop, moved = traffic.of_step(stepper(EAGER, s.device, batch, 64).run)
        form = stepper(EAGER if s.quick else FAST, s.device, batch, 64, graphed=s.graphs)
        step = median(form.run, s.device, s.repeats, s.steps(20))
        bound = max(flop / ceilings.bf16, moved / ceilings.copy)
        what = f"batch {full}: {flop / batch / 1e6:.0f} MFLOP and {moved / batch / 1e6:.2f} MB an image at least"
        goal = 0.25 if full == 4096 else None
        yield Figure(name=f"G4 roofline {full}", what=what, value=bound / step, unit="", target=goal)
        goal = 100_000 if full == 4096 else None
        yield Figure(name=f"G5 rate {full}", what="beta-VAE at 64 px", value=batch / step, unit="images/s", target=goal)


def graph_share(s: Setting, _: Ceilings) -> Iterator[Figure]:
    """G6 and G7: the graph network's part of a step, and what a new graph costs."""
    batch = s.batch(1024)
    for nodes in (40, 64):
        form = stepper(EAGER if s.quick else FAST, s.device, batch, 64, graphed=s.graphs, num_nodes=nodes)
        gem, strength = form.parts.gem, form.inputs.strength
        codes = torch.randn(batch, gem.latent_dim, device=s.device, requires_grad=True)

        def related(gem: object = gem, codes: torch.Tensor = codes, strength: torch.Tensor = strength) -> None:
            gem.relate(codes, strength).sum().backward()  # type: ignore[attr-defined]

        part = median(captured_or(related, s), s.device, s.repeats, s.steps(20))
        step = median(form.run, s.device, s.repeats, s.steps(20))
        what = f"message passing forward and backward, {nodes} nodes, batch {batch}, over a step"
        yield Figure(name=f"G6 {nodes} nodes", what=what, value=part / step, unit="", target=0.05, at_most=True)
    host = torch.rand(64, 64).pin_memory() if s.graphs else torch.rand(64, 64)
    place = torch.empty(64, 64, device=s.device)
    taken = median(lambda: place.copy_(host, non_blocking=True), s.device, s.repeats, s.steps(50))
    yield Figure(
        name="G7 refresh",
        what="a graph of 64 nodes to the device",
        value=1000 * taken,
        unit="ms",
        target=0.1,
        at_most=True,
    )
    yield Figure(
        name="G7 recompiles",
        what="compiled code made anew by ten new graphs",
        value=recompiles(s),
        unit="",
        target=0,
        at_most=True,
    )


def captured_or(action: Callable[[], object], s: Setting) -> Callable[[], object]:
    """The action as a CUDA graph where there are any."""
    from benchmarks.gpu.steps import captured

    return captured(action) if s.graphs else action


def recompiles(s: Setting) -> float:
    """How often the compiled model is compiled anew as its graph changes."""
    form = stepper(EAGER if s.quick else FAST, s.device, s.batch(64), 64)
    form.run()
    form.run()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for number in range(s.steps(10)):
        strength = torch.full_like(form.inputs.strength, 0.05 * number).fill_diagonal_(0)
        form.inputs = form.inputs._replace(strength=strength)  # another tensor, as training gets it
        form.run()
    synchronize(s.device)
    return float(torch._dynamo.utils.counters["stats"]["unique_graphs"] - before)


def stalls(s: Setting, _: Ceilings) -> Iterator[Figure]:
    """G9: how even steps on batches out of host memory are, and how much of the time the device works."""
    batch = s.batch(1024)
    form = stepper(EAGER if s.quick else FAST, s.device, batch, 64, graphed=s.graphs)
    ahead = ingest.Ahead(ingest.host_batches(batch * 16, batch, 64), s.device)
    source = iter(ahead)

    def fed() -> None:
        form.inputs.images.copy_(next(source))
        form.run()

    for _warming in range(s.steps(20)):
        fed()
    found = sorted(step_times(fed, s.device, s.steps(400)))
    ratio = found[math.ceil(0.99 * len(found)) - 1] / found[(len(found) - 1) // 2]
    yield Figure(
        name="G9 p99/p50", what="of steps on batches out of host memory", value=ratio, unit="", target=1.2, at_most=True
    )
    if s.graphs:
        yield Figure(name="G9 busy", what="the device works", value=busy(fed, s.steps(100)), unit="", target=0.95)
    ahead.close()


def busy(action: Callable[[], object], steps: int) -> float:
    """Seconds in which a kernel or copy runs, over all seconds, by the profiler; overlapping ones count once."""
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA]) as profile:
        started = time.perf_counter()
        for _ in range(steps):
            action()
        torch.cuda.synchronize()
        elapsed = time.perf_counter() - started
    spans = sorted((e.time_range.start, e.time_range.end) for e in profile.events() if e.device_type.name == "CUDA")
    covered, reached = 0.0, 0.0
    for start, end in spans:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / 1e6 / elapsed


ALL = {
    "ingest": host_ingest,
    "gather": gather,
    "forms": forms,
    "roofline": roofline,
    "graph": graph_share,
    "stalls": stalls,
}
