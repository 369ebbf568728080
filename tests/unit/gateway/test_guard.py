"""Who may ask, how often, how many at once, and how much: what a request passes before anything of it is read."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gem_ray.graph.disgraph import DisGraph
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from tests.unit.gateway.small_gateway import SECRET, brightness, code_of, score


@pytest.mark.parametrize("path", ["/graph", "/openapi.json", "/docs", "/nothing", "/graph/edges/0/1", "/score"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Bearer {SECRET}x", f"Basic {SECRET}", SECRET])
def test_without_the_token_every_path_says_the_same(setting, path, header):
    headers = {} if header is None else {"Authorization": header}
    setting.client.headers.pop("Authorization")
    response = setting.client.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert code_of(response) == "unauthorized"
    assert SECRET not in response.text


def test_two_tokens_at_once_are_none(setting):
    setting.client.headers.pop("Authorization")
    headers = [("Authorization", f"Bearer {SECRET}"), ("Authorization", "Bearer other")]
    assert setting.client.get("/graph", headers=headers).status_code == 401


def test_health_needs_no_token_and_says_little(setting):
    setting.client.headers.pop("Authorization")
    response = setting.client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "graph": True, "scorer": True})


def test_a_gateway_without_authentication_asks_for_no_token(make_setting):
    setting = make_setting(token=None)
    setting.client.headers.pop("Authorization")
    assert setting.client.get("/graph").status_code == 200


def test_a_body_over_the_limit_is_413_by_its_header_and_by_its_bytes(make_setting):
    setting = make_setting(max_body_bytes=1_000)
    response = score(setting, files={"image": b"x" * 2_000})
    assert (response.status_code, code_of(response)) == (413, "body_too_large")
    read = []

    def chunks():
        for _ in range(100):
            read.append(1)
            yield b"x" * 100

    response = setting.client.post("/score", content=chunks(), headers={"Content-Type": "image/png"})
    assert (response.status_code, code_of(response)) == (413, "body_too_large")
    lying = setting.client.post("/score", content=b"x", headers={"Content-Length": "-5", "Content-Type": "image/png"})
    assert lying.status_code == 413


def test_asking_too_often_is_429_with_the_wait_and_strangers_do_not_use_it_up(make_setting):
    setting = make_setting(requests_per_minute=2)
    for _ in range(5):
        assert setting.client.get("/graph", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert [setting.client.get("/graph").status_code for _ in range(2)] == [200, 200]
    response = setting.client.get("/graph")
    assert (response.status_code, code_of(response)) == (429, "too_many_requests")
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert setting.client.get("/healthz").status_code == 200


def test_as_many_requests_as_are_taken_is_503(make_setting):
    waiting, release = threading.Event(), threading.Event()

    def answer(request: ScoreRequest) -> ScoreAnswer:
        return brightness(request)

    setting = make_setting(answer=answer, max_under_way=1)
    read = setting.store.snapshot

    def slowly(newer_than: int | None) -> DisGraph | None:
        waiting.set()
        release.wait(10)
        return read(newer_than)

    setting.store.snapshot = slowly
    with setting.client, ThreadPoolExecutor() as pool:
        first = pool.submit(setting.client.get, "/graph")
        assert waiting.wait(10)
        refused = setting.client.get("/graph")
        release.set()
        assert first.result().status_code == 200
    assert (refused.status_code, code_of(refused)) == (503, "busy")
    assert setting.client.get("/graph").status_code == 200
