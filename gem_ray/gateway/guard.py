"""What every request passes before anything of it is parsed: token, rate, room, and the size of its body.

Plain ASGI, so that a body over the limit is refused while it arrives, and so that a path which does not exist says no
more to a stranger than one that does.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gem_ray.gateway.auth import Token
from gem_ray.gateway.limits import RateLimit

log = logging.getLogger(__name__)
OPEN_PATHS = frozenset({"/healthz"})
BODY_DEADLINE_S = 30.0
BUSY_RETRY_S = 2

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Refusal(Exception):
    """A request that is answered by an error.

    Args:
        status: of HTTP
        code: for programs
        message: for people
        headers: to go with the answer
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, code, message, headers)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    @property
    def content(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


class Guard:
    """ASGI middleware around the gateway.

    Args:
        token: None asks for none
        rate: of one address
        max_under_way: requests that are worked on at a time
        max_body_bytes: of one request
    """

    def __init__(
        self, app: ASGIApp, token: Token | None, rate: RateLimit, max_under_way: int, max_body_bytes: int
    ) -> None:
        self._app, self._token, self._rate = app, token, rate
        self._max_under_way, self._max_body_bytes = max_under_way, max_body_bytes
        self._under_way = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            self._admit(scope)
        except Refusal as refusal:
            await _answer(refusal, send)
            return
        self._under_way += 1
        try:
            body = await self._read(scope, receive)
            await self._app(scope, _replay(body, receive), send)
        except Refusal as refusal:
            await _answer(refusal, send)
        finally:
            self._under_way -= 1

    def _admit(self, scope: MutableMapping[str, Any]) -> None:
        if self._token is not None and not self._token.accepts(_header(scope, b"authorization")):
            raise Refusal(
                401,
                "unauthorized",
                "a valid token is needed: send the header 'Authorization: Bearer TOKEN'",
                {"WWW-Authenticate": "Bearer"},
            )
        client = scope.get("client")
        wait_s = self._rate.take(client[0] if client else "unknown")
        if wait_s is not None:
            raise Refusal(
                429,
                "too_many_requests",
                f"you ask more often than this gateway allows; ask again in {wait_s} s",
                {"Retry-After": str(wait_s)},
            )
        if self._under_way >= self._max_under_way:
            raise Refusal(
                503, "busy", "as many requests as are taken are under way", {"Retry-After": str(BUSY_RETRY_S)}
            )

    async def _read(self, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        declared = _header(scope, b"content-length") or "0"
        if not declared.isdecimal() or int(declared) > self._max_body_bytes:
            raise self._too_large()
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "incomplete", "the request ended before its body")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._max_body_bytes:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(
                408, "timeout", f"the body of the request did not arrive within {BODY_DEADLINE_S:g} s"
            ) from None

    def _too_large(self) -> Refusal:
        # The rest of the body is not read: the connection cannot be used again.
        return Refusal(
            413,
            "body_too_large",
            f"a request may have at most {self._max_body_bytes} bytes; send fewer or smaller images",
            {"Connection": "close"},
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _header(scope: MutableMapping[str, Any], name: bytes) -> str | None:
    found = [value for key, value in scope["headers"] if key == name]
    # Two of a kind are ambiguous, so neither counts.
    return found[0].decode("latin-1") if len(found) == 1 else None


async def _answer(refusal: Refusal, send: Send) -> None:
    body = json.dumps(refusal.content).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(key.lower().encode(), value.encode()) for key, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
