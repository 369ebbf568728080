"""Ratios of the ways to the MLLM, a stub in its place: the Serve handle in the cluster over HTTP by the gateway."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2
import numpy as np
import ray
from PIL import Image

from benchmarks.timing import Ratio, figures, in_turn
from gem_ray.config import GatewayConfig, GemConfig, RunConfig, ScoringConfig
from gem_ray.gateway.routes import Behind
from gem_ray.gateway.server import listen, make_server
from gem_ray.graph.store import start_store
from gem_ray.messages.questions import Request, ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import answer_of_value
from gem_ray.scoring.serving.application import app_name, start_scorer, stop_scorer
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.storage import Storage
from gem_ray.train.ray_session import ray_session

RUN, ATTRIBUTES = "bench-calling", ("bald", "beard")
BATCH, UNDER_WAY, QUESTIONS, SINGLE = 32, 4, 256, 50
FASTER = 8  # the handle is asked so many times as often, to be long enough to time
SIDE = 64


class Stub:
    """Answers at once; what a replica is made of here."""

    async def score(self, requests: Sequence[Request]) -> list[ScoreAnswer]:
        """One answer each."""
        return [answer_of_value(0.5) for _ in requests]

    async def check_health(self) -> None:
        """Always well."""

    def shutdown(self) -> None:
        """Nothing was started."""


def calling(repeats: int) -> Iterator[Ratio]:
    """Both ways, and what one call through the handle takes."""
    scoring = ScoringConfig(num_cpus=0.5, max_queued_requests=256)
    with tempfile.TemporaryDirectory(prefix="gem_ray-bench-") as folder:
        config = GemConfig(run=RunConfig(uri=folder, name=RUN), scoring=scoring)
        with ray_session(config):
            store = start_store(Storage(f"{folder}/{RUN}", config.storage), RUN, ATTRIBUTES, config.graph)
            start_scorer(scoring, RUN, lambda _: Stub())  # type: ignore[arg-type, return-value]
            try:
                with asyncio.Runner() as runner, gateway(Storage(folder, config.storage)) as url:
                    yield from measure(runner, url, repeats)
            finally:
                stop_scorer(RUN)
                store.stop()


def measure(runner: asyncio.Runner, url: str, repeats: int) -> Iterator[Ratio]:
    """In turn, with as many requests under way."""
    scorer = ServeScorer(app_name(RUN), 60.0)
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    # Each its own image: one that a batch holds many times would be sent once.
    batch = [
        ScoreRequest(image=(pixels + number).tobytes(), height=SIDE, width=SIDE, attribute=ATTRIBUTES[0])
        for number in range(BATCH)
    ]
    request = batch[0]
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "JPEG")

    async def by_handle(pause_s: float) -> None:
        async def one() -> None:
            answers = await scorer.score(batch)
            assert all(answer.probabilities for answer in answers)
            await asyncio.sleep(pause_s)

        await bounded([one] * (FASTER * QUESTIONS // BATCH))

    async def by_http() -> None:
        async with httpx2.AsyncClient(base_url=url, headers={"Content-Type": "image/jpeg"}, timeout=60) as client:

            async def one() -> None:
                answer = await client.post("/score", params={"attributes": ATTRIBUTES[0]}, content=sink.getvalue())
                assert answer.status_code == 200, answer.text

            await bounded([one] * QUESTIONS)

    rounds = FASTER * QUESTIONS // BATCH // UNDER_WAY
    turns = in_turn(lambda p: runner.run(by_handle(p)), lambda: runner.run(by_http()), repeats, rounds)
    what = f"questions in batches of {BATCH} through the Serve handle over one a call through the HTTP gateway"
    yield from figures("handle_over_http", what, turns.as_often(FASTER), QUESTIONS, "questions/s", 5.0)

    actor: Any = ray.remote(num_cpus=0)(Stub).remote()
    singly = lambda call, pause_s: runner.run(one_by_one(call, pause_s))  # noqa: E731
    turns = in_turn(
        lambda pause_s: singly(lambda: scorer.score([request]), pause_s),
        lambda: singly(lambda: actor.score.remote([request]), 0.0),
        repeats,
        SINGLE,
    )
    ray.kill(actor)
    what = "calls one after the other through the Serve handle over calls of a plain Ray actor"
    yield from figures("handle_call", what, turns, SINGLE, "calls/s", 0.4)


async def one_by_one(call: Callable[[], Awaitable[object]], pause_s: float) -> None:
    """So many calls, with a pause behind each."""
    for _ in range(SINGLE):
        await call()
        await asyncio.sleep(pause_s)


async def bounded(actions: Sequence[Callable[[], Awaitable[object]]]) -> None:
    """Run all, so many at a time."""
    places = asyncio.Semaphore(UNDER_WAY)

    async def run(action: Callable[[], Awaitable[object]]) -> None:
        async with places:
            await action()

    await asyncio.gather(*map(run, actions))


class GatewayProcess:
    """The gateway in a process of its own, as a person runs it; on loopback, and without a token."""

    def start(self, evidence: Storage) -> str:
        """Listen; the address."""
        config = GatewayConfig(port=0, authentication=False, requests_per_minute=10**9, max_under_way=64)
        behind = Behind(
            scorer=ServeScorer(app_name(RUN), 60.0),
            graphs=None,  # type: ignore[arg-type]  # no route that is asked here looks at the graph
            evidence=evidence,
            scorer_up=lambda: True,
            image_size=SIDE,
            wordings=1,
            batch_questions=BATCH,
            estimator="most_likely",
            calibrate=False,
        )
        listener = listen(config)
        server = make_server(config, None, behind, RUN)
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        while not server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def gateway(evidence: Storage) -> Iterator[str]:
    """Its address, for the length of the body."""
    actor: Any = ray.remote(num_cpus=0)(GatewayProcess).remote()
    try:
        address: str = ray.get(actor.start.remote(evidence))
        yield address
    finally:
        ray.kill(actor)
