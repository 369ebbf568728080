"""The proxy does to requests what its seed says, says so, and does nothing else."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from http.client import IncompleteRead
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kit.proxy import FaultProxy, fault_proxy

BODY = bytes(range(256)) * 8


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "application/xml" if self.path == "/list" else "binary/octet-stream")
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("x-amz-checksum-crc32", "right")
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.asked = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def get(proxy: FaultProxy, path: str = "/object", timeout: float = 10.0) -> bytes:
    with urllib.request.urlopen(proxy.url + path, timeout=timeout) as answer:
        return answer.read()


def test_without_faults_everything_arrives_as_it_is(server):
    with fault_proxy(url_of(server), seed=0) as proxy:
        with urllib.request.urlopen(f"{proxy.url}/object", timeout=10) as answer:
            assert answer.read() == BODY
            assert answer.headers["x-amz-checksum-crc32"] == "right"
    assert not proxy.counts
    assert (proxy.requests, server.asked) == (1, ["/object"])


def test_a_flip_changes_one_bit_of_an_object_and_none_of_a_listing(server):
    with fault_proxy(url_of(server), seed=0, checksums=False, flip=1.0) as proxy:
        found = [get(proxy) for _ in range(3)]
        assert get(proxy, "/list") == BODY
        with urllib.request.urlopen(f"{proxy.url}/object", timeout=10) as answer:
            assert "x-amz-checksum-crc32" not in answer.headers
    for body in found:
        assert sum((one ^ other).bit_count() for one, other in zip(body, BODY, strict=True)) == 1
    assert len(set(found)) > 1, "a second try would meet the same flip"
    assert proxy.counts == {"flip": 4}


def test_a_refusal_and_a_reset_never_reach_the_server_and_a_lost_answer_does(server):
    for fault in ("slow_down", "reset", "lost"):
        with fault_proxy(url_of(server), seed=0, **{fault: 1.0}) as proxy:
            with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as refused:
                get(proxy)
        assert proxy.counts == {fault: 1}
        assert (fault == "slow_down") == isinstance(refused.value, urllib.error.HTTPError)
        assert len(server.asked) == (1 if fault == "lost" else 0)


def test_a_cut_body_is_shorter_than_was_said(server):
    with fault_proxy(url_of(server), seed=0, cut=1.0) as proxy:
        with pytest.raises(IncompleteRead):
            get(proxy)
    assert proxy.counts == {"cut": 1}


def test_a_stall_lasts_until_the_client_gives_up(server):
    with fault_proxy(url_of(server), seed=0, stall=1.0) as proxy:
        with pytest.raises(TimeoutError):
            get(proxy, timeout=0.3)
    assert proxy.counts == {"stall": 1}
    assert server.asked == []


def test_the_same_seed_does_the_same_in_whatever_order_requests_come():
    def faults(seed: int, order: list[int]) -> dict[int, list[str | None]]:
        with fault_proxy("http://127.0.0.1:9", seed, slow_down=0.3, flip=0.3) as proxy:
            found: dict[int, list[str | None]] = {number: [] for number in order}
            for number in order:
                found[number].append(proxy.draw(f"GET /{number}")[0])
            return found

    order = [number for _ in range(4) for number in range(25)]
    assert faults(1, order) == faults(1, sorted(order))
    assert faults(1, order) != faults(2, order)
    kinds = [fault for each in faults(1, order).values() for fault in each]
    assert {None, "slow_down", "flip"} == set(kinds)
    assert 15 <= kinds.count("flip") <= 45
