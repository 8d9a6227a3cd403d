"""Start-up and peak memory: every contender in fresh processes, in turn."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.report.results import StartupResult
from sacvit_deploy.benchmarks.spread import spread_of
from sacvit_deploy.errors import BackendError


@dataclass(frozen=True)
class ProbeRequest:
    """Request to a probe: the contender to open and the image to answer. opening: backend, device, threads.

    eta: the cascade's gate. files: `engine` and `weights` of all other contenders. slots: tokens that SaiT keeps.
    """

    bundle: Path
    image: Path
    opening: Mapping[str, Any]
    precision: str
    contender: str
    eta: float | None = None
    files: Mapping[str, Path | None] | None = None
    slots: int | None = None


def measure_startup(
    requests: Sequence[ProbeRequest], rounds: int, advance: Callable[[int], object] = int
) -> list[StartupResult]:
    """Start every contender in turn, `rounds` times; a first round, which fills the page cache, is not counted."""
    results: list[list[dict[str, Any]]] = [[] for _ in requests]
    for number in range(rounds + 1):
        for request, own in zip(requests, results, strict=True):
            result = run_probe(request)
            advance(1)
            if number:
                own.append(result)
    return [
        StartupResult(
            request.contender,
            request.precision,
            seconds=spread_of([one["seconds"] for one in own]),
            open_ms=spread_of([one["open_ms"] for one in own]),
            first_ms=spread_of([one["first_ms"] for one in own]),
            peak_mb=max((one["peak_mb"] for one in own if one["peak_mb"] is not None), default=None),
            runs=rounds,
        )
        for request, own in zip(requests, results, strict=True)
    ]


def run_probe(request: ProbeRequest) -> dict[str, Any]:
    """Run one probe to its end: seconds, open_ms, first_ms, peak_mb.

    Raises BackendError with the last line of its errors if it fails.
    """
    argument = json.dumps(asdict(request), default=str)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "sacvit_deploy.benchmarks.startup.probe", argument], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        errors = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BackendError(f"the process of {request.contender} in {request.precision} failed: {errors[-1]}")
    return {"seconds": seconds, **json.loads(done.stdout)}
