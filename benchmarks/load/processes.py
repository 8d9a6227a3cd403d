"""Processes below another one: which there are, what they are called, how much memory they take."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")


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


def kill(pid: int) -> None:
    """End a process as a machine that fails would."""
    os.kill(pid, signal.SIGKILL)


def memory(pids: Iterable[int]) -> float:
    """Return the memory of processes together, MB; of pages that they share, each is given its part."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text()
            total += int(lines.partition("\nPss:")[2].split()[0])
    return total / 1024
