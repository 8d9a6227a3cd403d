"""Processes below another one: which there are, what they are called, how much memory they take."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from sacvit_deploy.errors import BackendError

PROC = Path("/proc")
GONE = 30.0  # seconds until a process that was killed is gone


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes below one, without itself; nothing where the system has no /proc."""
    parents: dict[int, int] = {}
    for entry in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; the state and the parent stand behind it.
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, seen = [], {pid}
    while below := [child for child, parent in parents.items() if parent in seen and child not in seen]:
        found += below
        seen.update(below)
    return found


def named(pids: Iterable[int], word: str) -> list[int]:
    """Return those whose command line holds a word; Ray writes the class that a process runs into it."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if word.encode() in (PROC / str(pid) / "cmdline").read_bytes():
                found.append(pid)
    return found


def kill_first(pids: Sequence[int], name: str) -> None:
    """End the first of some processes as a machine that fails would, and return when it is gone.

    name: what they run, for the error. Raises BackendError where there is none, or it stays.
    """
    if not pids:
        raise BackendError(f"there is no process of {name} to kill")
    os.kill(pids[0], signal.SIGKILL)
    limit = time.monotonic() + GONE
    while is_running(pids[0]):
        if time.monotonic() > limit:
            raise BackendError(f"process {pids[0]} of {name} is still there {GONE:.0f} s after it was killed")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet has."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def memory(pids: Iterable[int]) -> float:
    """Return the memory of processes together, MB; of pages that they share, each is given its part."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text()
            total += int(lines.partition("\nPss:")[2].split()[0])
    return total / 1024
