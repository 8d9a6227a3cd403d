"""Start-up and peak memory: contenders as processes of their own, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.results import Process
from sacvit_deploy.benchmarks.spread import spread
from sacvit_deploy.errors import BackendError


@dataclass(frozen=True)
class Asked:
    """What a probe is to open, and for which picture.

    opening: backend, provider, threads. eta: the cascade's gate. files: `engine` and `weights`, for all others; slots:
    how many tokens SaiT keeps.
    """

    contender: str
    precision: str
    bundle: Path
    picture: Path
    opening: Mapping[str, Any]
    eta: float | None = None
    files: Mapping[str, Path | None] | None = None
    slots: int | None = None

    @property
    def name(self) -> str:
        """For people: a cascade's answer comes from one stage or from both."""
        if self.contender != "cascade":
            return self.contender
        return "cascade, exits" if self.eta == 0 else "cascade, continues"

    def to_json(self) -> str:
        """The probe's argument."""
        given = self.files
        files = None if given is None else {role: str(path) for role, path in given.items() if path is not None}
        told = {**vars(self), "bundle": str(self.bundle), "picture": str(self.picture), "files": files}
        return json.dumps({**told, "opening": dict(self.opening)})


@dataclass(frozen=True)
class Seen:
    """One process."""

    seconds: float
    open_ms: float
    first_ms: float
    peak_mb: float | None


def measure_processes(asked: Sequence[Asked], rounds: int, note: Callable[[], object] = int) -> list[Process]:
    """Start every contender in turn, `rounds` times; a first round, which fills the page cache, is not counted."""
    seen: list[list[Seen]] = [[] for _ in asked]
    for number in range(rounds + 1):
        for one, found in zip(asked, seen, strict=True):
            result = start(one)
            note()
            if number:
                found.append(result)
    return [_summary(one, found) for one, found in zip(asked, seen, strict=True)]


def start(asked: Asked) -> Seen:
    """Run one probe to its end. Raises BackendError with its last words if it fails."""
    command = [sys.executable, "-m", "sacvit_deploy.benchmarks.probe", asked.to_json()]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BackendError(f"the process of {asked.name} in {asked.precision} failed: {said[-1]}")
    told = json.loads(done.stdout)
    return Seen(seconds, told["open_ms"], told["first_ms"], told["peak_mb"])


def _summary(asked: Asked, found: Sequence[Seen]) -> Process:
    peaks = [one.peak_mb for one in found if one.peak_mb is not None]
    return Process(
        contender=asked.name,
        precision=asked.precision,
        seconds=spread([one.seconds for one in found]),
        open_ms=spread([one.open_ms for one in found]),
        first_ms=spread([one.first_ms for one in found]),
        peak_mb=max(peaks) if peaks else None,
        runs=len(found),
    )
