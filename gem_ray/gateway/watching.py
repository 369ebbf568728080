"""Counts and times what the gateway answers: plain ASGI around everything else, so that refusals count too."""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from typing import Any

from gem_ray.gateway.guard import OPEN_PATHS, ASGIApp, Message, Receive, Send
from gem_ray.telemetry import add_count, observe


class Watched:
    """ASGI middleware that records every request but those about health, which only say that somebody looks.

    Args:
        run_name: of the run that is answered for
    """

    def __init__(self, app: ASGIApp, run_name: str) -> None:
        self._app, self._run_name = app, run_name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        started = time.monotonic()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_count("gem_gateway_requests", 1, run=self._run_name, status=str(message["status"]))
                observe("gem_gateway_seconds", time.monotonic() - started, run=self._run_name)
            await send(message)

        await self._app(scope, receive, watched)
