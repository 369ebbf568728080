"""Keeps memory that a step frees in the process, so that the next step need not be given it anew, page by page.

glibc returns large blocks to the kernel as they are freed. A step on a CPU frees and takes the same activations again
and again, and up to a tenth of its processor time goes into pages that the kernel clears (docs/log.md).
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Blocks up to so many bytes come from the heap. Some versions of glibc take no more than the second.
FROM_HEAP = (1 << 30, 1 << 25)
NEVER_TRIM = (1 << 31) - 1


def keep_freed_memory(device_type: str = "cpu") -> bool:
    """Tell glibc to keep what is freed; whether it does. Another C library is left as it is.

    The process keeps the most that it ever needed, which a training worker needs again in every step.

    Args:
        device_type: where steps run; those on a GPU take next to nothing of the host's memory, and nothing is done
    """
    if device_type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept = any(mallopt(M_MMAP_THRESHOLD, size) for size in FROM_HEAP)
    return bool(mallopt(M_TRIM_THRESHOLD, NEVER_TRIM)) and kept
