"""CPU properties: the cores this process may use, and instruction sets."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

from sacvit_deploy.cpu_quota import cpu_quota
from sacvit_deploy.errors import UsageError

# No machine has as many cores for one process; some hundred times as many threads take all its memory or never end.
MOST_THREADS = 1024


@dataclass(frozen=True)
class CoreLimits:
    """What limits this process's threads.

    affinity: cores that it may run on. quota: CPUs' time that its container may take. omp: $OMP_NUM_THREADS. None: no
    such limit.
    """

    affinity: int
    quota: float | None
    omp: int | None

    @property
    def cores(self) -> int:
        """The number of threads that the tightest limit leaves: of a part of a CPU, a whole thread."""
        quota = self.affinity if self.quota is None else math.ceil(self.quota)
        return max(1, min(self.affinity, quota, self.omp or self.affinity))


def core_limits() -> CoreLimits:
    """Read what limits this process's threads; a container's quota is read once."""
    try:
        affinity = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        affinity = os.cpu_count() or 1
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # more numbers are for nested teams
    omp = int(first) if first.isdecimal() and int(first) > 0 else None
    return CoreLimits(affinity, _quota(), omp)


def usable_cores() -> int:
    """Count the cores this process may keep busy, in a container often fewer than the machine has."""
    return core_limits().cores


@functools.cache
def _quota() -> float | None:
    return cpu_quota()


def check_threads(threads: int, name: str = "threads") -> int:
    """Return a number of threads. Raises UsageError for one that is not from 1 to MOST_THREADS."""
    if isinstance(threads, bool) or not isinstance(threads, Integral) or not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"{name} is {threads!r:.80}; it must be at least 1, and {MOST_THREADS:,} at most")
    return int(threads)


FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "fphp")


def cpu_features() -> list[str]:
    """List the CPU's instruction sets that matter for reduced precision; empty where /proc/cpuinfo is missing."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [feature for feature in FEATURES if feature in words]
