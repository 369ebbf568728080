"""Memory that was freed stays in the process: taking it again costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from gem_ray.train.allocator import keep_freed_memory

CODE = """
import resource, sys
import numpy as np
from gem_ray.train.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def take():
    blocks = [np.empty(24 << 20, np.uint8) for _ in range(4)]
    for block in blocks:
        block.fill(1)

for _ in range(3):
    take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    take()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of ten times the same blocks, in a process of its own."""
    # Without it the kernel may give huge pages, of which there are few.
    environment = {"NUMPY_MADVISE_HUGEPAGE": "0", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", CODE, how]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_memory_that_is_kept_is_taken_again_without_page_faults() -> None:
    assert faults("return") > 100  # what would be seen if nothing had been done
    assert faults("keep") < 20


def test_workers_on_a_gpu_are_left_as_they_are() -> None:
    assert not keep_freed_memory("cuda")
