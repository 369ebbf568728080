"""The gateway's ASGI application: scores and relations of a run for people outside the cluster.

It knows a scorer, a graph store and a folder of evidence by what they do; ``server`` puts the real ones in.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version as package_version
from typing import Any

from fastapi import FastAPI, Security
from fastapi.security import HTTPBearer

from gem_ray.config import GatewayConfig
from gem_ray.gateway import views
from gem_ray.gateway.auth import Token
from gem_ray.gateway.failures import add_error_answers
from gem_ray.gateway.guard import Guard
from gem_ray.gateway.limits import RateLimit
from gem_ray.gateway.questions import MULTIPART
from gem_ray.gateway.routes import Behind, Gateway, PairQuestion

ERRORS = {
    401: "no valid token",
    404: "not there",
    413: "too large a body, or too many pixels",
    415: "another kind of content",
    422: "what was sent makes no sense; the message says why",
    429: "too often; see Retry-After",
    503: "not at present; see Retry-After",
}


def build_gateway(config: GatewayConfig, token: Token | None, behind: Behind) -> Guard:
    """The ASGI application; ``token`` None asks for none."""
    app = FastAPI(
        title="gem_ray", version=package_version("gem-ray"), docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    add_error_answers(app)
    secured = [Security(HTTPBearer(auto_error=False))] if token else []  # for the OpenAPI document; Guard decides
    gateway = Gateway(config, behind)
    errors: dict[int | str, dict[str, Any]] = {
        code: {"description": text, "content": {"application/json": {}}} for code, text in ERRORS.items()
    }
    routes: list[tuple[str, str, Callable[..., Any], Any, dict[str, Any] | None]] = [
        ("POST", "/score", gateway.score, views.Scores, _image_body(several=False)),
        ("POST", "/relations", gateway.relations, views.RelationTable, _image_body(several=True)),
        ("GET", "/graph", gateway.graph, views.GraphView, None),
        ("GET", "/graph/edges/{i}/{j}", gateway.edge, views.EdgeView, None),
    ]
    for method, path, answer, model, extra in routes:
        app.add_api_route(
            path,
            answer,
            methods=[method],
            response_model=model,
            dependencies=secured,
            responses=errors,
            openapi_extra=extra,
        )
    app.add_api_route("/healthz", gateway.health, methods=["GET"], response_model=views.Health)
    return Guard(app, token, RateLimit(config.requests_per_minute), config.max_under_way, config.max_body_bytes)


def _image_body(several: bool) -> dict[str, Any]:
    """The part of the OpenAPI document that FastAPI cannot know."""
    file = {"type": "string", "format": "binary"}
    names = {"type": "array", "items": {"type": "string"}}
    image: dict[str, Any] = {"type": "array", "items": file} if several else file
    form = {"type": "object", "required": ["image"], "properties": {"image": image, "attributes": names}}
    if several:
        other = {"application/json": {"schema": PairQuestion.model_json_schema()}}
        return {"requestBody": {"required": True, "content": {MULTIPART: {"schema": form}, **other}}}
    raw = {f"image/{kind}": {"schema": file} for kind in ("jpeg", "png", "webp")}
    query = {"name": "attributes", "in": "query", "schema": names, "description": "with an image as the body"}
    return {"parameters": [query], "requestBody": {"required": True, "content": {MULTIPART: {"schema": form}, **raw}}}
