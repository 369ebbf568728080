"""Who may change a DisGraph: whoever can read the run's key, which lies beside the graph in the run's storage.

Every job of a Ray cluster can find a named actor and call it, so a change carries an HMAC-SHA256 (RFC 2104) under that
key. It covers the run's name and all of the change, so that it fits no other run and no other content. It keeps out
jobs that cannot read the run's folder; against code that already runs on the cluster's nodes under the same role only
a cluster of one's own helps.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

from gem_ray.errors import GraphError
from gem_ray.graph.record import push_content
from gem_ray.messages.graph import Push
from gem_ray.storage import Storage

KEY = "key"
KEY_BYTES = 32


def ensure_key(graph_storage: Storage) -> bytes:
    """The key of a run's graph, made where there is none; of racing makers one wins and all get its key.

    Raises:
        GraphError: what is there is no key
        StorageError: the folder cannot be written
    """
    graph_storage.create_bytes(KEY, secrets.token_hex(KEY_BYTES).encode(), private=True)
    return read_key(graph_storage)


def read_key(graph_storage: Storage) -> bytes:
    """The key of a run's graph.

    Raises:
        GraphError: there is none, or what is there is no key
        StorageError: it cannot be read, for want of a permission perhaps
    """
    remedy = "start the run again, which makes a new one, after deleting what is there"
    try:
        key = graph_storage.read_bytes(KEY)
    except FileNotFoundError as error:
        raise GraphError(
            f"there is no key in {graph_storage.uri}/{KEY}, so no change can be signed: {remedy}"
        ) from error
    try:
        return _whole(bytes.fromhex(key.decode("ascii")))
    except ValueError as error:  # without what was found: it may be most of a key
        raise GraphError(
            f"{graph_storage.uri}/{KEY} does not hold {KEY_BYTES} bytes in hexadecimal: {remedy}"
        ) from error


def fingerprint(key: bytes) -> str:
    """What may be shown of a key, to tell it from another."""
    return hashlib.sha256(key).hexdigest()[:12]


def sign_push(key: bytes, run_name: str, push: Push) -> str:
    """The signature of a push to a run's graph, hexadecimal."""
    return _sign(key, ["push", run_name, push_content(push)])


def sign_rollback(key: bytes, run_name: str, operation_id: str, version: int) -> str:
    """The signature of a rollback to ``version``, hexadecimal."""
    return _sign(key, ["rollback", run_name, operation_id, version])


def same(signature: object, expected: str) -> bool:
    """Whether a signature is the expected one, in a time that does not tell how much of it is right."""
    return isinstance(signature, str) and hmac.compare_digest(signature.encode(), expected.encode())


def _sign(key: bytes, content: list[object]) -> str:
    # NaN is signed like any number: it is for admission to refuse it, and to say so.
    return hmac.new(key, json.dumps(content, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _whole(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError(f"{len(key)} bytes")
    return key
