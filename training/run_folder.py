"""The folder of a training run, which one training uses at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.files import remove_leftovers
from sacvit_deploy.locks import try_lock
from sacvit_deploy.training.parallel import Team

LOG = "log.jsonl"


@contextmanager
def alone_in(out: Path, team: Team) -> Iterator[None]:
    """Hold the lock of a run folder, for a whole team at once, and tidy up after killed runs.

    Raises UsageError while another process holds it.
    """
    lock = None
    out.mkdir(parents=True, exist_ok=True)
    if team.leads:
        lock = try_lock(out)
    # The leader tells the others, so that none is left waiting for it.
    if not team.broadcast(lock is not None):
        raise UsageError(f"another training is running in {out}; wait for it, or choose another --out")
    try:
        if team.leads:
            remove_leftovers(out)
            drop_half_line(out / LOG)
        yield
    finally:
        if lock is not None:
            lock.release()


def drop_half_line(log: Path) -> None:
    """Cut off the end of a log that a process was killed while writing."""
    if log.exists() and (text := log.read_bytes()) and not text.endswith(b"\n"):
        with log.open("r+b") as file:
            file.truncate(text.rfind(b"\n") + 1)
