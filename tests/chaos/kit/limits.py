"""A full disk and a small memory, by the kernel's limits on one process."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def full_disk(free_bytes: int = 0) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: a write comes back short, and the next one fails.

    The error is EFBIG, not ENOSPC, and comes at the same places: inside the write. Files that this process writes for
    others, such as pytest's capture, are under the limit too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_with_memory(program: str, num_bytes: int, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run a Python program that may not have more than so much address space from its first line on."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({num_bytes}, {num_bytes}))\n"
    return subprocess.run(
        [sys.executable, "-c", limit + textwrap.dedent(program)], capture_output=True, text=True, timeout=timeout_s
    )
