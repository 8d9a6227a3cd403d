"""CPU properties: the cores this process may use, and instruction sets."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Count the cores this process may run on, in a container often fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "fphp")


def cpu_features() -> list[str]:
    """List the CPU's instruction sets that matter for reduced precision; empty where /proc/cpuinfo is missing."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [feature for feature in FEATURES if feature in words]
