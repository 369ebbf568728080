"""Every answer of the gateway is counted by its status, the looks at its health are not."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.testclient import TestClient

from gem_ray.gateway.auth import Token
from gem_ray.gateway.guard import Guard
from gem_ray.gateway.limits import RateLimit
from gem_ray.gateway.watching import Watched

TOKEN = "t" * 32


def test_answers_and_refusals_are_counted_by_status_and_timed(recorded):
    app = FastAPI()
    app.add_api_route("/graph", lambda: {})
    app.add_api_route("/healthz", lambda: {})
    guarded = Guard(app, Token(secret=TOKEN, place="a test"), RateLimit(600), 4, 1000)
    client = TestClient(Watched(guarded, "faces"))
    client.get("/healthz")
    assert client.get("/graph").status_code == 401
    assert client.get("/graph", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.post("/graph", content=b"x" * 2000, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 413
    counted = [labels["status"] for name, _, labels in recorded if name == "gem_gateway_requests"]
    assert counted == ["401", "200", "413"]
    assert len([name for name, value, _ in recorded if name == "gem_gateway_seconds" and value >= 0]) == 3
