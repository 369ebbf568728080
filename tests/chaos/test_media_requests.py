"""Nothing that a caller sends makes anything here fetch an address: not an image, not a name, not a field of a form.

A server on loopback stands for what an attacker would like to reach, and counts who asks it.
"""

from __future__ import annotations

import io
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from gem_ray.config import GatewayConfig, GraphConfig, StorageConfig
from gem_ray.data.images import BadImageError, Cause, ImageShape, decode_image
from gem_ray.gateway.app import build_gateway
from gem_ray.gateway.auth import Token
from gem_ray.gateway.routes import Behind
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.questions import ScoreRequest
from gem_ray.scoring.asking.engine_settings import NO_MEDIA_DOMAIN, engine_arguments
from gem_ray.scoring.asking.scripted import ScriptedScorer, answer_of_value
from gem_ray.storage import Storage

SECRET = "a-token-of-this-test-0123456789"


@dataclass
class Sink:
    """The address that must not be asked, and who asked it."""

    url: str
    hits: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    found = Sink("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.hits.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}/latest/meta-data/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def asked() -> list[ScoreRequest]:
    return []


@pytest.fixture
def client(tmp_path: Path, asked: list[ScoreRequest]) -> TestClient:
    run = Storage(str(tmp_path / "run"), StorageConfig())

    def answer(request: ScoreRequest):
        asked.append(request)
        return answer_of_value(0.5)

    behind = Behind(
        scorer=ScriptedScorer(answer),
        graphs=GraphStore(run, "test", ("male", "beard"), GraphConfig()),
        evidence=run.child("evidence"),
        scorer_up=lambda: True,
        image_size=16,
        wordings=1,
        batch_questions=4,
        estimator="expected_table",
        calibrate=False,
    )
    app = build_gateway(GatewayConfig(), Token(secret=SECRET, place="this test"), behind)
    return TestClient(app, headers={"Authorization": f"Bearer {SECRET}"}, raise_server_exceptions=False)


def png(text: str) -> bytes:
    """An honest image whose every comment is an address."""
    info, buffer = PngInfo(), io.BytesIO()
    for key in ("Comment", "URL", "XML:com.adobe.xmp", "Source"):
        info.add_text(key, text)
    Image.new("RGB", (16, 16)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def hostile_images(url: str) -> dict[str, bytes]:
    return {
        "url": url.encode(),
        "data uri": b"data:image/png;base64,aGVsbG8=",
        "file uri": b"file:///etc/passwd",
        "svg": f'<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{url}"/></svg>'.encode(),
        "xml entity": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><x>&e;</x>'.encode(),
        "playlist": f"#EXTM3U\n{url}\n".encode(),
        "mvg": f"push graphic-context\nimage over 0,0 0,0 '{url}'\npop graphic-context\n".encode(),
    }


def test_an_address_in_place_of_an_image_is_no_image(client, sink, asked):
    before = len(sink.hits)
    for name, content in hostile_images(sink.url).items():
        with pytest.raises(BadImageError) as refused:
            decode_image(content, ImageShape(size=16, crop=0, max_pixels=10_000))
        assert refused.value.cause is Cause.NOT_AN_IMAGE, name
        for kind in ("image/png", "application/octet-stream", "image/jpeg"):
            raw = client.post("/score?attributes=male", content=content, headers={"Content-Type": kind})
            assert raw.status_code == 422, name
        form = client.post("/score", files={"image": ("a.png", content)}, data={"attributes": "male"})
        assert form.status_code == 422, name
    assert not asked
    assert len(sink.hits) == before


def test_no_other_way_of_naming_an_image_is_known(client, sink, asked):
    before = len(sink.hits)
    for content, kind in (
        (f'{{"image_url": "{sink.url}", "attributes": ["male"]}}', "application/json"),
        (f"image={sink.url}&attributes=male", "application/x-www-form-urlencoded"),
        (f'{{"messages": [{{"type": "image_url", "image_url": {{"url": "{sink.url}"}}}}]}}', "application/json"),
    ):
        answer = client.post("/score", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 415
    for name in ("image_url", "url", "image"):
        answer = client.post("/score", data={name: sink.url, "attributes": "male"}, files={"image": ("a", png("x"))})
        assert answer.status_code == 422
    assert not asked
    assert len(sink.hits) == before


@pytest.mark.parametrize("name", ["{url}", "male <img src={url}>", "![x]({url})", "@{url}", "file:///etc/passwd"])
def test_an_address_is_no_attribute(client, sink, asked, name):
    before = len(sink.hits)
    answer = client.post("/score", files={"image": ("a.png", png("x"))}, data={"attributes": name.format(url=sink.url)})
    assert answer.status_code == 422
    assert not asked
    assert len(sink.hits) == before


def test_what_reaches_the_model_is_pixels_and_a_name(client, sink, asked):
    """Also where every comment of the image is an address: they stay behind when it is decoded."""
    before = len(sink.hits)
    answer = client.post("/score", files={"image": (sink.url, png(sink.url))}, data={"attributes": "male"})
    assert answer.status_code == 200
    assert asked
    for request in asked:
        assert request.image == np.zeros((16, 16, 3), np.uint8).tobytes()
        assert sink.url not in repr(request)
    assert len(sink.hits) == before


def test_the_engine_is_told_that_no_address_is_allowed():
    arguments = engine_arguments("nano", use_gpu=False, tensor_parallel=1, max_model_len=0)
    assert arguments["allowed_media_domains"] == [NO_MEDIA_DOMAIN]
    assert NO_MEDIA_DOMAIN.endswith(".invalid"), "a name that can exist"
    assert arguments["allowed_local_media_path"] == ""


def test_control_the_sink_counts_who_asks(sink):
    before = len(sink.hits)
    urllib.request.urlopen(sink.url, timeout=5).close()
    assert len(sink.hits) == before + 1
