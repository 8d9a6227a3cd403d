"""Rows and reports from made-up times."""

from __future__ import annotations

from sacvit_deploy.benchmarks.bench import with_ratios
from sacvit_deploy.benchmarks.report.results import BenchReport, BenchRow
from sacvit_deploy.benchmarks.spread import spread_of


def row(contender: str, precision: str, *rounds_ms: float, gate: float | None = None) -> BenchRow:
    return BenchRow(
        scope="engine",
        batch=8,
        threads=2,
        contender=contender,
        precision=precision,
        gate=None if gate is None else {"forced": gate},
        pictures=10,
        rounds=len(rounds_ms),
        steady=True,
        ms=spread_of(rounds_ms),
        rounds_ms=list(rounds_ms),
        latency_ms={"p50": 1.0, "p95": 1.0, "p99": 1.0},
        steps_ms={"engine": 1.0},
        gmacs=None,
        continued=gate,
        ideal=None,
    )


def report(*rows: BenchRow, machine: str = "a", images: str = "photos", alpha: float = 0.5) -> BenchReport:
    facts = {
        "machine": {"id": machine},
        "pictures": {"name": images, "count": 10, "labelled": False},
        "bundle": {"config": {"depth": 12}, "alpha": alpha},
        "runtime": "ONNX Runtime",
    }
    return BenchReport(facts, with_ratios(rows))
