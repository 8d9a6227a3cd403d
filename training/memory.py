"""glibc's allocator told to keep the memory that a step frees for the next step."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM, _TOP_PAD, _MMAP_FROM = -1, -2, -3  # glibc's mallopt(3)


def keep_memory() -> bool:
    """Make this process hold on to freed memory; returns False where the C library has no such switch.

    Every step allocates the same large tensors. By default glibc maps and unmaps each of them, and getting zeroed pages
    from the kernel again, 4 KiB at a time, takes a good part of a training step on a CPU. Call it before torch creates
    its first tensor.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks for pages of 2 MiB
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    most = 2**31 - 1
    mapped = mallopt(_MMAP_FROM, most) or mallopt(_MMAP_FROM, 2**25)  # an older glibc takes no more than 32 MiB
    return bool(mapped and mallopt(_TRIM, most) and mallopt(_TOP_PAD, 2**28))
