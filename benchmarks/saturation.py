"""What training loses beside an MLLM that is kept busy, on a core each and on one for both."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from benchmarks.face_questions import Faces
from benchmarks.mllm import DEADLINE_S, served
from benchmarks.timing import Ratio, ratio, seconds
from gem_ray.config import TrainConfig

SATURATING = 4  # requests of 48 questions under way, as the rescorer has them
STEPS, BATCH = 24, 64


def training(repeats: int) -> Iterator[Ratio]:
    """Training steps a second while the MLLM is saturated over while it idles, on a core each and on one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return
    import psutil
    import torch

    from benchmarks.core import step_runner

    torch.set_num_threads(1)
    with served():
        load = start_load()
        for process in psutil.Process().children(recursive=True):
            pin(process, cores[0])
        run = partial(step_runner(TrainConfig(precision="fp32"), BATCH, STEPS), 0.0)
        try:
            for name, core, target, expect in (
                ("own_core", cores[1], 0.95, None),
                ("own_core_control", cores[0], None, 0.8),
            ):
                os.sched_setaffinity(0, {core})
                wall, cpu, rate = steps_in_turn(run, load, repeats)
                where = "a core each" if core == cores[1] else "one core for both"
                what = f"training steps with the MLLM saturated ({rate:.0f} questions/s) over idle, {where}"
                yield ratio(name, what, wall, BATCH * STEPS, "images/s", target, expect)
                if core == cores[1]:
                    what = (
                        "the same by the CPU time of training: what is left when others on the machine are not counted"
                    )
                    yield ratio(f"{name}_cpu", what, cpu, BATCH * STEPS, "images/CPU s", target)
        finally:
            os.sched_setaffinity(0, set(cores))


def steps_in_turn(
    run: Callable[[], object], load: Callable[[], Any], repeats: int
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]], float]:
    """Wall and CPU seconds of training under load and idle, in turn, and the questions a second under load."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    rates: list[float] = []

    def timed(place: int) -> None:
        before = time.process_time()
        wall[place].append(seconds(run))
        cpu[place].append(time.process_time() - before)

    for _ in range(repeats + 1):
        timed(1)
        with load() as rate:
            timed(0)
        rates.append(rate())
    for times in (*wall, *cpu):
        del times[0]
    return wall, cpu, float(np.median(rates))


def start_load() -> Callable[[], Any]:
    """A context in which a Ray actor keeps requests under way all the time; gives what was answered a second."""
    import ray

    from gem_ray.scoring.serving.application import app_name
    from gem_ray.scoring.serving.serve_scorer import ServeScorer

    class Load:
        def __init__(self) -> None:
            self.scorer, self.on, self.answered = ServeScorer(app_name("bench"), DEADLINE_S), False, 0
            self.batches = Faces().batches(64, 8)

        async def ready(self) -> None:
            """Answered once the process is there, whose threads can then be pinned."""

        async def start(self) -> None:
            self.on, self.answered, self.began = True, 0, time.monotonic()
            self.callers = [asyncio.create_task(self.call(number)) for number in range(SATURATING)]
            while self.answered == 0:
                await asyncio.sleep(0.02)

        async def call(self, number: int) -> None:
            while self.on:
                self.answered += len(await self.scorer.score(self.batches[number % 64]))
                number += SATURATING

        async def stop(self) -> float:
            self.on, rate = False, self.answered / (time.monotonic() - self.began)
            await asyncio.gather(*self.callers)
            return rate

    actor: Any = ray.remote(num_cpus=0)(Load).remote()
    ray.get(actor.ready.remote())

    @contextmanager
    def load() -> Iterator[Callable[[], float]]:
        rates: list[float] = []
        ray.get(actor.start.remote())
        try:
            yield lambda: rates[0]
        finally:
            rates.append(ray.get(actor.stop.remote()))

    return load


def pin(process: Any, core: int) -> None:
    """Keep all threads of a process on one core; one that has ended meanwhile needs none."""
    import psutil

    try:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})
        os.sched_setaffinity(process.pid, {core})
    except (psutil.NoSuchProcess, ProcessLookupError):
        return
