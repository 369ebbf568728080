"""A cluster that does not answer is said to be so at once, with what to do."""

from __future__ import annotations

import socket

import pytest

from gem_ray.errors import ClusterError
from gem_ray.submission.cluster import JobServer


def test_no_server_ends_in_a_remedy_not_in_a_wait():
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ClusterError, match="ssh -L") as caught:
            JobServer(address)
    assert address in str(caught.value)
    assert "kubectl port-forward" in str(caught.value)
