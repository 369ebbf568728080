"""A gateway over a real store and a scripted scorer, and what is sent to it."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import httpx2
import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from gem_ray.graph.actor import GraphStore
from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.graph import EdgeRecord, EdgeUpdate, EvidenceKind, Push
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.storage import Storage

ATTRIBUTES = ("male", "beard", "bangs")
SECRET = "a-token-of-this-test-0123456789"
HEADERS = {"Authorization": f"Bearer {SECRET}"}


class LocalGraphs:
    """The store's own class in this process, behind the calls that its client has."""

    def __init__(self, store: GraphStore) -> None:
        self.store = store

    def snapshot(self, newer_than: int | None, deadline_s: float) -> DisGraph | None:
        return self.store.snapshot(newer_than)

    def at(self, version: int, deadline_s: float) -> DisGraph:
        return self.store.at(version)

    def history(self, source: str, target: str, deadline_s: float) -> tuple[EdgeRecord, ...]:
        return self.store.history(source, target)


@dataclass
class Setting:
    """A gateway and what is behind it."""

    client: TestClient
    scorer: ScriptedScorer
    store: GraphStore
    run: Storage


def brightness(request: ScoreRequest) -> ScoreAnswer:
    """male: how bright the image is; beard: the same; bangs: how dark."""
    value = np.frombuffer(request.image, dtype=np.uint8).mean() / 255
    return answer_of_value(1 - value if request.attribute == "bangs" else value)


def png(value: int = 128, side: int = 16) -> bytes:
    """A plain grey image."""
    return encoded(Image.new("RGB", (side, side), (value, value, value)), "PNG")


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png_of_claimed_size(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than it holds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def push(store: GraphStore, number: int, strength: float, evidence_id: str = "") -> None:
    """One score of male on beard."""
    edge = EdgeUpdate(source="male", target="beard", strength=strength, standard_error=0.1, num_observations=100)
    reply = store.push(
        Push(
            push_id=f"push-{number}",
            base_version=store.snapshot(None).version,
            kind=EvidenceKind.SCORES,
            edges=(edge,),
            evidence_id=evidence_id or f"scores-{number}.json",
        )
    )
    assert reply.applied


def score(setting: Setting, **arguments: object) -> httpx2.Response:
    """One image with its attributes."""
    arguments.setdefault("files", {"image": png(255)})
    arguments.setdefault("data", {"attributes": ["male", "bangs"]})
    return setting.client.post("/score", **arguments)


def code_of(response: httpx2.Response) -> str:
    return response.json()["error"]["code"]
