"""A proxy on loopback before an S3 server, which answers some requests wrongly: seeded, and every fault counted.

What happens to a request depends on the seed, the request and how often it has come before, not on the order in which
threads send theirs. Faults of a body hit contents of objects alone: a listing has no checksum but TLS's.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message><RequestId>chaos</RequestId></Error>"
)
OF_THE_CONNECTION = {"transfer-encoding", "content-length", "connection", "date", "server", "keep-alive"}
CHECKSUMS = ("x-amz-checksum", "content-md5", "etag")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Probabilities of what may happen to a request; at most one thing does.

    Args:
        slow_down: 503 SlowDown, and the server never hears of the request
        reset: the connection is reset, and the server never hears of the request
        lost: the server does what is asked, and the connection is reset in place of its answer
        stall: silence, for as long as the proxy lives
        cut: half of an object's bytes, then the end of the connection
        flip: one bit of an object's bytes is another
    """

    slow_down: float = 0.0
    reset: float = 0.0
    lost: float = 0.0
    stall: float = 0.0
    cut: float = 0.0
    flip: float = 0.0


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to the S3 server at ``target``.

    Args:
        checksums: pass on what a client could check a body by; without, the reader's own hash has to find a flip

    Attributes:
        counts: faults that happened, by name
        requests: requests in all
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, faults: Faults, seed: int, checksums: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.faults, self.seed, self.checksums = urlparse(target), faults, seed, checksums
        self.counts: Counter[str] = Counter()
        self.requests = 0
        self.closing = threading.Event()
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where clients reach it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def draw(self, request: str) -> tuple[str | None, random.Random]:
        """What happens to this request, and the dice for the rest of it."""
        with self._lock:
            self.requests += 1
            self._seen[request] += 1
            dice = random.Random(f"{self.seed} {request} {self._seen[request]}")
        number = dice.random()
        for name, probability in asdict(self.faults).items():
            if number < probability:
                return name, dice
            number -= probability
        return None, dice

    def count(self, fault: str) -> None:
        """One more that happened."""
        with self._lock:
            self.counts[fault] += 1


@contextmanager
def fault_proxy(target: str, seed: int, checksums: bool = True, **faults: float) -> Iterator[FaultProxy]:
    """A proxy that serves for the length of the body, and says in the end what it did."""
    proxy = FaultProxy(target, Faults(**faults), seed, checksums)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        print(f"proxy: seed {seed}, {proxy.requests} requests, faults {dict(proxy.counts)}", flush=True)


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy
    protocol_version = "HTTP/1.1"  # which answers "Expect: 100-continue"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault, dice = self.server.draw(f"{self.command} {self.path} {self.headers.get('Range', '')}")
        self.close_connection = True
        if fault == "slow_down":
            self.server.count(fault)
            self._answer(503, {"Content-Type": "application/xml"}, len(SLOW_DOWN), SLOW_DOWN)
        elif fault == "reset":
            self.server.count(fault)
            self._reset()
        elif fault == "stall":
            self.server.count(fault)
            self.server.closing.wait()
            self._reset()
        else:
            self._ask(body, fault, dice)

    def _ask(self, body: bytes, fault: str | None, dice: random.Random) -> None:
        connection = HTTPConnection(self.server.target.hostname or "", self.server.target.port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lost":
            self.server.count(fault)
            self._reset()
            return
        damaged = content
        if self.command == "GET" and answer.status in {200, 206} and content and not _is_listing(answer):
            damaged = _damaged(content, fault, dice)
            if fault is not None:
                self.server.count(fault)
        length = int(answer.getheader("Content-Length") or 0) if self.command == "HEAD" else len(content)
        self._answer(answer.status, self._headers(answer), length, damaged)

    def _headers(self, answer: HTTPResponse) -> dict[str, str]:
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in OF_THE_CONNECTION}
        if not self.server.checksums and self.command == "GET":
            kept = {name: value for name, value in kept.items() if not name.lower().startswith(CHECKSUMS)}
        return kept

    def _answer(self, status: int, headers: dict[str, str], length: int, body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        # Closed with nothing to linger for, the kernel sends RST in place of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile.close = lambda: None  # type: ignore[method-assign]

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            return  # a connection that was reset has nothing to flush

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def _is_listing(answer: HTTPResponse) -> bool:
    return "xml" in (answer.getheader("Content-Type") or "")


def _damaged(content: bytes, fault: str | None, dice: random.Random) -> bytes:
    if fault == "cut":
        return content[: len(content) // 2]
    if fault == "flip":
        place = dice.randrange(len(content))
        return content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :]
    return content
