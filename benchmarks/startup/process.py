"""Start-up and peak memory: every contender in fresh processes, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.report.results import StartupResult
from sacvit_deploy.benchmarks.spread import spread
from sacvit_deploy.errors import BackendError


@dataclass(frozen=True)
class ProbeRequest:
    """Request to a probe: the contender to open and the image to answer.

    opening: backend, provider, threads. eta: the cascade's gate. files: `engine` and `weights` of all other contenders.
    slots: tokens that SaiT keeps.
    """

    contender: str
    precision: str
    bundle: Path
    image: Path
    opening: Mapping[str, Any]
    eta: float | None = None
    files: Mapping[str, Path | None] | None = None
    slots: int | None = None

    @property
    def name(self) -> str:
        """Name in the report; a cascade's answer comes from one stage or from both."""
        if self.contender != "cascade":
            return self.contender
        return "cascade, exits" if self.eta == 0 else "cascade, continues"

    def to_json(self) -> str:
        """Return the probe's argument."""
        files = None if self.files is None else {role: str(path) for role, path in self.files.items() if path}
        paths = {"bundle": str(self.bundle), "image": str(self.image), "files": files}
        return json.dumps({**vars(self), **paths, "opening": dict(self.opening)})


@dataclass(frozen=True)
class ProbeResult:
    """Times and peak memory of one process."""

    seconds: float
    open_ms: float
    first_ms: float
    peak_mb: float | None


def measure_startup(
    requests: Sequence[ProbeRequest], rounds: int, advance: Callable[[int], object] = int
) -> list[StartupResult]:
    """Start every contender in turn, `rounds` times; a first round, which fills the page cache, is not counted."""
    results: list[list[ProbeResult]] = [[] for _ in requests]
    for number in range(rounds + 1):
        for request, own in zip(requests, results, strict=True):
            result = run_probe(request)
            advance(1)
            if number:
                own.append(result)
    return [_summary(request, own) for request, own in zip(requests, results, strict=True)]


def run_probe(request: ProbeRequest) -> ProbeResult:
    """Run one probe to its end. Raises BackendError with the last line of its errors if it fails."""
    command = [sys.executable, "-m", "sacvit_deploy.benchmarks.startup.probe", request.to_json()]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        errors = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BackendError(f"the process of {request.name} in {request.precision} failed: {errors[-1]}")
    return ProbeResult(seconds, **json.loads(done.stdout))


def _summary(request: ProbeRequest, results: Sequence[ProbeResult]) -> StartupResult:
    peaks = [one.peak_mb for one in results if one.peak_mb is not None]
    return StartupResult(
        contender=request.name,
        precision=request.precision,
        seconds=spread([one.seconds for one in results]),
        open_ms=spread([one.open_ms for one in results]),
        first_ms=spread([one.first_ms for one in results]),
        peak_mb=max(peaks) if peaks else None,
        runs=len(results),
    )
