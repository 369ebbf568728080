"""Every error as ``{"error": {"code", "message"}}``: no traces, paths or addresses of the server reach a caller."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gem_ray.errors import GraphError, NotKeptError, ScorerBusyError, ScorerError, StorageError
from gem_ray.gateway.guard import BUSY_RETRY_S, Refusal

log = logging.getLogger(__name__)
ABSENT_RETRY_S = 5
_LATER = {"Retry-After": str(ABSENT_RETRY_S)}
# What a caller is told of an error behind the gateway; its own message goes to the log.
_BEHIND = {
    ScorerBusyError: Refusal(503, "busy", "the MLLM has as much to do as it takes", {"Retry-After": str(BUSY_RETRY_S)}),
    ScorerError: Refusal(503, "scorer_absent", "the MLLM does not answer at present", _LATER),
    NotKeptError: Refusal(404, "no_such_version", "this version of the graph is not kept, or not there yet"),
    GraphError: Refusal(503, "graph_absent", "the graph cannot be read at present", _LATER),
    StorageError: Refusal(503, "storage_absent", "the storage of the run cannot be read at present", _LATER),
    Exception: Refusal(500, "internal", "something went wrong here; the gateway's log says what"),
}


def add_error_answers(app: FastAPI) -> None:
    """Register an answer for every kind of error."""
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_http)
    for kind in _BEHIND:
        app.add_exception_handler(kind, _behind)


def first_complaint(errors: Sequence[Any]) -> str:
    """The first complaint of pydantic, without what was sent."""
    place = ".".join(str(part)[:64] for part in errors[0]["loc"])
    return f"{place}: {errors[0]['msg']}" if place else str(errors[0]["msg"])


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return JSONResponse(error.content, status_code=error.status, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return await _refused(request, Refusal(422, "invalid", first_complaint(error.errors())))


async def _of_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return await _refused(
        request, Refusal(error.status_code, "http", str(error.detail)[:200], dict(error.headers or {}))
    )


async def _behind(request: Request, error: Exception) -> JSONResponse:
    kind = next(kind for kind in type(error).__mro__ if kind in _BEHIND)
    log.warning("%s: %s", type(error).__name__, error)
    return await _refused(request, _BEHIND[kind])
