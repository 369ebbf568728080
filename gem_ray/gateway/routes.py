"""The gateway's routes: what is asked of the scorer, the graph's store and the run's evidence for each of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from fastapi import Query
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from gem_ray.config import GatewayConfig
from gem_ray.errors import GraphError, ScorerError, StorageError
from gem_ray.gateway import views
from gem_ray.gateway.failures import ABSENT_RETRY_S, first_complaint
from gem_ray.gateway.guard import Refusal
from gem_ray.gateway.questions import MULTIPART, Decoder, checked_attributes, media_type, read_sent
from gem_ray.graph.disgraph import DisGraph
from gem_ray.graph.relations import relations_from_scores
from gem_ray.messages.graph import EdgeRecord
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.calibration import GREY, calibrated_answer
from gem_ray.scoring.asking.prompts import NUM_DIGITS, checked
from gem_ray.scoring.asking.questions import averaged
from gem_ray.scoring.asking.scorer import Scorer
from gem_ray.storage import Storage

GRAPH_DEADLINE_S, HISTORY_DEADLINE_S = 5.0, 20.0
SHOWN_EVIDENCE = 10
HEALTH_EVERY_S = 2.0


class Graphs(Protocol):
    """What is needed of ``graph.store.StoreClient``."""

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph | None:
        """The current graph."""
        ...

    def at(self, version: int, deadline_s: float) -> DisGraph:
        """The graph as it was in a kept version."""
        ...

    def history(self, source: str, target: str, deadline_s: float) -> Sequence[EdgeRecord]:
        """Changes of an edge, oldest first."""
        ...


@dataclass(frozen=True, kw_only=True)
class Behind:
    """What is behind the gateway.

    Args:
        evidence: the folder ``evidence/`` of the run
        scorer_up: whether the MLLM is deployed; may block
        image_size: side of the square images the MLLM is shown
        wordings, batch_questions, estimator, calibrate: as in ``ScoringConfig``
    """

    scorer: Scorer
    graphs: Graphs
    evidence: Storage
    scorer_up: Callable[[], bool]
    image_size: int
    wordings: int
    batch_questions: int
    estimator: str
    calibrate: bool


class PairQuestion(BaseModel):
    """Attributes whose relations in the graph are wanted; null for all."""

    model_config = ConfigDict(extra="forbid")
    attributes: list[str] | None = None


class Gateway:
    """The routes."""

    def __init__(self, config: GatewayConfig, behind: Behind) -> None:
        self._config, self._behind = config, behind
        self._decoder = Decoder(behind.image_size, config.max_pixels)
        self._health: tuple[float, views.Health] | None = None
        self._health_lock = asyncio.Lock()

    async def score(self, request: Request) -> views.Scores:
        """Score one image: multipart with ``image`` and ``attributes``, or the image itself and ?attributes=...

        Without attributes those of the run's graph are scored.
        """
        sent = await read_sent(request, self._config)
        if len(sent.files) != 1:
            raise Refusal(422, "one_image", f"{len(sent.files)} images; /score takes one, /relations several")
        attributes = await self._attributes(sent.attributes)
        images = await self._decoder.decode(sent.files)
        answers = (await self._ask(images, attributes))[0]
        return views.Scores(model=_model(answers), scores=list(map(views.attribute_score, attributes, answers)))

    async def relations(self, request: Request) -> views.RelationTable:
        """Relations between attributes.

        Multipart with several ``image`` files: each is scored, and the relations are those of the scores. JSON
        ``{"attributes": [...]}``: what the run's graph says of them at present.
        """
        if media_type(request) == "application/json":
            return await self._relations_of_graph(await request.body())
        if media_type(request) != MULTIPART:
            raise Refusal(415, "unsupported_media_type", f"send images as {MULTIPART}, or names as application/json")
        sent = await read_sent(request, self._config)
        if len(sent.files) < 2:
            raise Refusal(422, "too_few_images", f"{len(sent.files)} images; a relation needs two at least")
        attributes = await self._attributes(sent.attributes)
        self._check_pair(attributes)
        images = await self._decoder.decode(sent.files)
        answers = await self._ask(images, attributes)
        none = (np.nan,) * NUM_DIGITS
        probabilities = np.array([[answer.probabilities or none for answer in row] for row in answers])
        relations = await asyncio.to_thread(relations_from_scores, probabilities, self._behind.estimator)
        flat = [answer for row in answers for answer in row]
        return views.RelationTable(
            basis="images",
            model=_model(flat),
            num_images=len(images),
            missing=sum(answer.probabilities is None for answer in flat),
            relations=views.relation_list(attributes, relations),
        )

    async def graph(self, version: int | None = Query(default=None, ge=0)) -> views.GraphView:
        """The DisGraph: its newest version, or one of those that are kept."""
        graph = await self._newest()
        if version is not None and version != graph.version:
            graph = await asyncio.to_thread(self._behind.graphs.at, version, HISTORY_DEADLINE_S)
        return views.graph_view(graph)

    async def edge(self, i: str, j: str) -> views.EdgeView:
        """One directed edge by names or numbers of its attributes, with history and evidence."""
        graph = await self._newest()
        source, target = (_number(graph, name) for name in (i, j))
        if source == target:
            raise Refusal(404, "no_such_edge", "an attribute has no edge to itself")
        names = graph.attributes[source], graph.attributes[target]
        history = await asyncio.to_thread(self._behind.graphs.history, *names, HISTORY_DEADLINE_S)
        newest_first = (record.evidence_id for record in reversed(history) if record.evidence_id)
        ids = list(dict.fromkeys(newest_first))[:SHOWN_EVIDENCE]
        evidence = await asyncio.to_thread(lambda: [(name, self._evidence(name)) for name in ids])
        return views.edge_view(graph, source, target, history, evidence)

    async def health(self) -> JSONResponse:
        """Whether graph and MLLM are there; needs no token, and looks no more than every other second."""
        async with self._health_lock:
            if self._health is None or time.monotonic() - self._health[0] > HEALTH_EVERY_S:
                try:
                    graph_up = bool(await self._newest())
                except GraphError:
                    graph_up = False
                scorer_up = await asyncio.to_thread(self._behind.scorer_up)
                self._health = (
                    time.monotonic(),
                    views.Health(
                        status="ok" if graph_up and scorer_up else "degraded", graph=graph_up, scorer=scorer_up
                    ),
                )
        health = self._health[1]
        return JSONResponse(health.model_dump(), status_code=200 if health.status == "ok" else 503)

    async def _newest(self) -> DisGraph:
        graph = await asyncio.to_thread(self._behind.graphs.snapshot, None, GRAPH_DEADLINE_S)
        if graph is None:
            raise GraphError("the store has no graph yet")
        return graph

    async def _attributes(self, names: Sequence[str] | None) -> tuple[str, ...]:
        return checked_attributes(
            (await self._newest()).attributes if names is None else names, self._config.max_attributes
        )

    def _check_pair(self, attributes: Sequence[str]) -> None:
        if len(attributes) < 2:
            raise Refusal(422, "too_few_attributes", f"{len(attributes)} attributes; a relation needs two")

    async def _relations_of_graph(self, body: bytes) -> views.RelationTable:
        try:
            wanted = PairQuestion.model_validate_json(body or b"{}").attributes
        except ValidationError as error:
            raise Refusal(422, "invalid", first_complaint(error.errors())) from None
        graph = await self._newest()
        attributes = graph.attributes if wanted is None else checked_attributes(wanted, self._config.max_attributes)
        self._check_pair(attributes)
        unknown = [name for name in attributes if name not in graph.attributes]
        if unknown:
            known = ", ".join(graph.attributes)
            raise Refusal(422, "unknown_attribute", f"the graph does not know {unknown[0]!r}; it knows {known}")
        return views.RelationTable(
            basis="graph", version=graph.version, relations=views.graph_relations(graph, attributes)
        )

    async def _ask(self, images: NDArray[np.uint8], attributes: Sequence[str]) -> list[list[ScoreAnswer]]:
        """Answers [N][n] about images [N, H, W, 3]; whole images travel in one call, as many as fit."""
        wordings = self._behind.wordings
        per_image = len(attributes) * wordings
        per_call = max(1, self._behind.batch_questions // per_image)

        async def ask(part: NDArray[np.uint8]) -> list[ScoreAnswer]:
            requests = [
                ScoreRequest(image=pixels, height=part.shape[1], width=part.shape[2], attribute=name, wording=wording)
                for pixels in (image.tobytes() for image in part)
                for name in attributes
                for wording in range(wordings)
            ]
            answers = [checked(answer) for answer in await self._behind.scorer.score(requests)]
            if len(answers) != len(requests):
                raise ScorerError(f"the scorer gave {len(answers)} answers to {len(requests)} questions")
            return [averaged(answers[at : at + wordings]) for at in range(0, len(answers), wordings)]

        found: list[ScoreAnswer] = []
        for start in range(0, len(images), per_call):
            found += await ask(images[start : start + per_call])
        if self._behind.calibrate:
            content_free = await ask(np.full_like(images[:1], GREY))
            found = [calibrated_answer(a, content_free[place % len(attributes)]) for place, a in enumerate(found)]
        return [found[at : at + len(attributes)] for at in range(0, len(found), len(attributes))]

    def _evidence(self, name: str) -> dict[str, Any]:
        """A record of evidence; what cannot be read says so."""
        try:
            record = json.loads(self._behind.evidence.read_bytes(name))
        except (FileNotFoundError, StorageError, ValueError):
            return {"unreadable": True}
        return record if isinstance(record, dict) else {"unreadable": True}


def _number(graph: DisGraph, name: str) -> int:
    if name in graph.attributes:
        return graph.index(name)
    if name.isascii() and name.isdecimal() and len(name) < 6 and int(name) < len(graph.attributes):
        return int(name)
    raise Refusal(404, "no_such_attribute", f"the graph does not know it; it knows {', '.join(graph.attributes)}")


def _model(answers: Sequence[ScoreAnswer]) -> str:
    models = {answer.model for answer in answers if answer.model}
    if len(models) > 1:
        raise Refusal(
            503, "model_changing", "the MLLM is being changed; ask again", {"Retry-After": str(ABSENT_RETRY_S)}
        )
    return models.pop() if models else ""
