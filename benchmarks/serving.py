"""``python -m benchmarks.serving``: what serving costs and what it spares, with the shipped MLLM on this machine.

Every ratio is of two things timed in turn on the same questions. Engines, replicas and training share the machine's
cores as they would in a run, but for the last group, which gives the MLLM one core and training another.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.command import Group, main_of
from benchmarks.processes import tree_cpu_s
from benchmarks.timing import Ratio, ratio, seconds

SIDE, SEED = 64, 4_242
CONCURRENCY = 16
DEADLINE_S = 120.0
SATURATING = 4  # requests of 48 questions under way, as the rescorer has them
STEPS, BATCH = 24, 64
PLANTED_S = 0.1
STRUCTURED_TOKENS = 16

Questions = list[list[Any]]
"""Batches of ``ScoreRequest``."""


class Faces:
    """Fresh drawn faces: no engine has seen one before, so that no cache of an earlier call answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def batches(self, count: int, images: int, unique: bool = False) -> Questions:
        """``count`` batches of six questions about each of ``images`` faces.

        Args:
            unique: every question is about an image of its own, which differs from the next in one pixel
        """
        from gem_ray.data.faces import ATTRIBUTES, face
        from gem_ray.messages.questions import ScoreRequest

        def pixels(image: np.ndarray, position: int) -> bytes:
            changed = image.copy()
            changed[0, 0] = (position * 40 + 7, image[0, 0, 1], image[0, 0, 2])
            return (changed if unique else image).tobytes()

        def batch() -> list[ScoreRequest]:
            drawn = [face(SEED, next(self._numbers), SIDE)[0] for _ in range(images)]
            return [
                ScoreRequest(image=image, height=SIDE, width=SIDE, attribute=name)
                for face_ in drawn
                for shared in (face_.tobytes(),)
                for position, name in enumerate(ATTRIBUTES)
                for image in (pixels(face_, position) if unique else shared,)
            ]

        return [batch() for _ in range(count)]


async def ask_all(scorer: Any, batches: Questions, concurrency: int, planted_s: float = 0.0) -> None:
    """Ask all batches, so many at a time; a missing answer is an error, so that nothing fails fast and counts."""
    places = asyncio.Semaphore(concurrency)

    async def ask(batch: list[Any]) -> None:
        async with places:
            answers = await scorer.score(batch)
            time.sleep(planted_s)  # holds up the caller's loop, as a slow serialisation would
            assert all(answer.probabilities is not None for answer in answers), answers

    await asyncio.gather(*map(ask, batches))


@dataclass(frozen=True)
class Measured:
    """Seconds of A and of B in each pair: of wall time, and of the CPU that all processes of the benchmark used."""

    wall: tuple[list[float], list[float]]
    cpu: tuple[list[float], list[float]]


def asked_in_turn(
    runner: asyncio.Runner,
    a: Callable[[Questions], Any],
    b: Callable[[Questions], Any],
    questions: Callable[[], Questions],
    repeats: int,
) -> Measured:
    """Both on the same fresh questions of each pair, which are drawn outside the timing; every other pair in B A."""
    measured = Measured(([], []), ([], []))
    for repeat in range(repeats + 1):
        batches = questions()
        for place in (0, 1) if repeat % 2 else (1, 0):
            ask = (a, b)[place]
            before = tree_cpu_s()
            measured.wall[place].append(seconds(lambda: runner.run(ask(batches))))  # noqa: B023
            measured.cpu[place].append(tree_cpu_s() - before)
    for times in (*measured.wall, *measured.cpu):
        del times[0]
    return measured


def by_both_clocks(
    name: str, what: str, measured: Measured, units: float, target: float | None = None, expect: float | None = None
) -> Iterator[Ratio]:
    """A ratio by wall time, and by CPU time, which others on the machine touch less."""
    yield ratio(name, what, measured.wall, units, "questions/s", target, expect)
    yield ratio(f"{name}_cpu", f"{what}, by CPU time", measured.cpu, units, "questions/CPU s", target, expect)


@contextmanager
def bare_engine(runner: asyncio.Runner, **options: Any) -> Iterator[Any]:
    """The scorer of a replica without the replica: its engine's process below this one."""
    from gem_ray.scoring.asking.vllm_scorer import VLLMScorer

    async def start() -> VLLMScorer:
        return VLLMScorer("nano", min_digit_mass=0.0, deadline_s=DEADLINE_S, **options)

    scorer = runner.run(start())
    try:
        yield scorer
    finally:
        scorer.shutdown()


@contextmanager
def served() -> Iterator[Any]:
    """The same behind Ray Serve."""
    from gem_ray.config import GemConfig, ScoringConfig
    from gem_ray.scoring.serving.deployment import ServeScorer
    from gem_ray.train.ray_session import ray_session

    config = ScoringConfig(
        max_ongoing_requests=2 * CONCURRENCY, max_queued_requests=64, deadline_s=DEADLINE_S, min_digit_mass=0.0
    )
    with ray_session(GemConfig(scoring=config)):
        from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer

        start_scorer(config, "bench")
        try:
            yield ServeScorer(app_name("bench"), DEADLINE_S)
        finally:
            stop_scorer("bench")


def handle(repeats: int) -> Iterator[Ratio]:
    """Questions a second through the Serve handle over those of the bare engine, 16 requests under way."""
    faces = Faces()
    with asyncio.Runner() as runner, bare_engine(runner) as bare, served() as behind_serve:
        # The rescorer and scans send 48 questions at a time; six are a single image, as the gateway sends them.
        for name, images, count, target in (("handle_48", 8, 32, 0.9), ("handle_6", 1, 96, None)):
            questions = lambda images=images, count=count: faces.batches(count, images)  # noqa: E731
            times = asked_in_turn(
                runner,
                lambda batches: ask_all(behind_serve, batches, CONCURRENCY),
                lambda batches: ask_all(bare, batches, CONCURRENCY),
                questions,
                repeats,
            )
            what = f"questions through Serve over the bare engine, {CONCURRENCY} requests of {6 * images} under way"
            yield from by_both_clocks(name, what, times, count * images * 6, target)
        times = asked_in_turn(
            runner,
            lambda batches: ask_all(behind_serve, batches, CONCURRENCY, PLANTED_S),
            lambda batches: ask_all(bare, batches, CONCURRENCY),
            lambda: faces.batches(32, 8),
            repeats,
        )
        what = f"the first with {1000 * PLANTED_S:g} ms planted in each of the handle's requests"
        yield ratio("handle_control", what, times.wall, 32 * 48, "questions/s", expect=0.85)


def prefix(repeats: int) -> Iterator[Ratio]:
    """What questions about one image share: its pixels are processed once, and its tokens computed once."""
    faces = Faces()
    with asyncio.Runner() as runner, bare_engine(runner) as on, bare_engine(runner, prefix_caching=False) as off:
        asked = lambda scorer: lambda batches: ask_all(scorer, batches, CONCURRENCY)  # noqa: E731
        questions = lambda: faces.batches(16, 8)  # noqa: E731
        times = asked_in_turn(runner, asked(on), asked(off), questions, repeats)
        what = "prefix cache of the engine on over off, six questions an image"
        yield from by_both_clocks("prefix_cache", what, times, 16 * 48, 1.0)
        drawn: dict[str, Questions] = {}

        def same_faces() -> Questions:
            drawn["unique"] = Faces.batches(faces, 16, 8, unique=True)
            return questions()

        times = asked_in_turn(
            runner, asked(on), lambda _: ask_all(on, drawn["unique"], CONCURRENCY), same_faces, repeats
        )
        what = "six questions an image over six images that differ in one pixel"
        yield from by_both_clocks("shared_image", what, times, 16 * 48, 1.5)
        times = asked_in_turn(runner, asked(off), asked(off), questions, repeats)
        what = "prefix cache off over off: nothing to gain"
        yield from by_both_clocks("prefix_control", what, times, 16 * 48, expect=1.2)


def tokens(repeats: int) -> Iterator[Ratio]:
    """One token whose digits are read over sixteen tokens of JSON under a grammar."""
    faces = Faces()
    with asyncio.Runner() as runner, bare_engine(runner) as scorer:
        digit, structured = scorer._one_digit, structured_output()
        assert runner.run(num_tokens(scorer, structured)) == STRUCTURED_TOKENS
        assert runner.run(num_tokens(scorer, digit)) == 1

        def asked(sampling: Any) -> Callable[[Questions], Any]:
            async def ask(batches: Questions) -> None:
                scorer._one_digit = sampling
                await scorer.engine.reset_prefix_cache()  # the other of the pair has asked about the same faces
                places = asyncio.Semaphore(CONCURRENCY)

                async def one(batch: list[Any]) -> None:
                    async with places:
                        await scorer.score(batch)

                await asyncio.gather(*map(one, batches))

            return ask

        questions = lambda: faces.batches(16, 8)  # noqa: E731
        times = asked_in_turn(runner, asked(digit), asked(structured), questions, repeats)
        what = f"one token over {STRUCTURED_TOKENS} tokens of structured output"
        yield from by_both_clocks("one_token", what, times, 16 * 48, 1.5)
        times = asked_in_turn(runner, asked(digit), asked(digit), questions, repeats)
        what = "one token over one token: nothing to gain"
        yield from by_both_clocks("one_token_control", what, times, 16 * 48, expect=1.2)


def structured_output() -> Any:
    """A score with a reason, as JSON, cut at sixteen tokens."""
    from vllm.sampling_params import SamplingParams, StructuredOutputsParams

    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 5}, "reason": {"type": "string"}},
        "required": ["score", "reason"],
        "additionalProperties": False,
    }
    return SamplingParams(
        max_tokens=STRUCTURED_TOKENS,
        min_tokens=STRUCTURED_TOKENS,
        temperature=0.0,
        structured_outputs=StructuredOutputsParams(json=json.dumps(schema)),
    )


async def num_tokens(scorer: Any, sampling: Any) -> int:
    """Tokens that an answer under some sampling has."""
    from PIL import Image

    request = Faces().batches(1, 1)[0][0]
    image = Image.frombytes("RGB", (SIDE, SIDE), request.image)
    rendered = await scorer._rendering.of_image(scorer.prompt(request), image)
    return len((await scorer._generate(rendered, sampling)).outputs[0].token_ids)


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
        run = step_runner("fp32", BATCH, STEPS)
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
    run: Callable[[], None], load: Callable[[], Any], repeats: int
) -> tuple[tuple[list[float], list[float]], tuple[list[float], list[float]], float]:
    """Wall and CPU seconds of training under load and idle, in turn, and the questions a second under load."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    rates = []

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
    from gem_ray.scoring.serving.deployment import ServeScorer

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

    actor = ray.remote(num_cpus=0)(Load).remote()
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


GROUPS = {
    "handle": Group("benchmarks.serving:handle", 120, "the Serve handle over the bare engine"),
    "prefix": Group("benchmarks.serving:prefix", 120, "the engine's prefix cache on over off"),
    "tokens": Group("benchmarks.serving:tokens", 90, "one token over sixteen tokens of JSON"),
    "training": Group("benchmarks.serving:training", 150, "training beside a busy MLLM over beside an idle one"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratios."""
    main_of("Ratios of serving the shipped MLLM on this machine.", GROUPS, arguments)


if __name__ == "__main__":
    main()
