"""Gateways to ask: one of options, and one as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gem_ray.config import GatewayConfig, GraphConfig, StorageConfig
from gem_ray.gateway.app import build_gateway
from gem_ray.gateway.auth import Token
from gem_ray.gateway.routes import Behind
from gem_ray.graph.actor import GraphStore
from gem_ray.messages.questions import ScoreAnswer, ScoreRequest
from gem_ray.scoring.asking.scripted import ScriptedScorer
from gem_ray.storage import Storage
from tests.unit.gateway.small_gateway import ATTRIBUTES, HEADERS, SECRET, LocalGraphs, Setting, brightness


@pytest.fixture
def make_setting(tmp_path: Path) -> Callable[..., Setting]:
    """Builds a gateway: options of ``GatewayConfig``, and the scorer's answer."""

    def make(
        answer: Callable[[ScoreRequest], ScoreAnswer] = brightness,
        fail: Callable[[int], bool] | None = None,
        token: Token | None = Token(secret=SECRET, place="this test"),  # noqa: B008
        calibrate: bool = False,
        **options: int,
    ) -> Setting:
        run = Storage(str(tmp_path / "run"), StorageConfig())
        store = GraphStore(run, "test", ATTRIBUTES, GraphConfig(snapshot_every_pushes=2))
        scorer = ScriptedScorer(answer, fail=fail)
        behind = Behind(
            scorer=scorer,
            graphs=LocalGraphs(store),
            evidence=run.child("evidence"),
            scorer_up=lambda: True,
            image_size=16,
            wordings=1,
            batch_questions=7,
            estimator="expected_table",
            calibrate=calibrate,
        )
        app = build_gateway(GatewayConfig(**options), token, behind)
        client = TestClient(app, headers=HEADERS, raise_server_exceptions=False)
        return Setting(client, scorer, store, run)

    return make


@pytest.fixture
def setting(make_setting: Callable[..., Setting]) -> Setting:
    return make_setting()
