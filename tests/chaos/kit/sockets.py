"""Which ports the processes below this one listen on, and one that nobody does."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import psutil


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of this address that was free a moment ago."""
    with socket.create_server((host, 0)) as probe:
        return probe.getsockname()[1]


@dataclass(frozen=True, order=True)
class Listener:
    """A listening TCP socket, and the process that holds it."""

    address: str
    port: int
    pid: int
    name: str


def listeners(root: psutil.Process | None = None) -> list[Listener]:
    """Listening TCP sockets of all processes below ``root`` (this process), itself included."""
    root = root or psutil.Process()
    found = set()
    for process in [root, *root.children(recursive=True)]:
        try:
            title = " ".join(process.cmdline())[:200] or process.name()
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(Listener(connection.laddr.ip, connection.laddr.port, process.pid, title))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return sorted(found)
