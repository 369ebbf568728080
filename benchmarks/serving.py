"""``python -m benchmarks.serving``: what serving costs and what it spares, with the shipped MLLM on this machine.

Every ratio is of two things timed in turn on the same questions. Engines, replicas and training share the machine's
cores as they would in a run, but for the last group, which gives the MLLM one core and training another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.command import Group, main_of
from benchmarks.face_questions import SIDE, Faces, Questions, ask_all
from benchmarks.mllm import CONCURRENCY, bare_engine, served
from benchmarks.processes import tree_cpu_s
from benchmarks.timing import Ratio, ratio, seconds

PLANTED_S = 0.1
STRUCTURED_TOKENS = 16


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


GROUPS = {
    "handle": Group("benchmarks.serving:handle", 120, "the Serve handle over the bare engine"),
    "prefix": Group("benchmarks.serving:prefix", 120, "the engine's prefix cache on over off"),
    "tokens": Group("benchmarks.serving:tokens", 90, "one token over sixteen tokens of JSON"),
    "training": Group("benchmarks.saturation:training", 150, "training beside a busy MLLM over beside an idle one"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the ratios."""
    main_of("Ratios of serving the shipped MLLM on this machine.", GROUPS, arguments)


if __name__ == "__main__":
    main()
