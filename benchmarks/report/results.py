"""The result of a bench, as values and as JSON (`bench.schema.json`): one row for each contender in each case."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.errors import UsageError

KIND = "sacvit-bench"
SCHEMA = 1
SCOPES = {
    "engine": "from decoded images to probabilities",
    "file": "from image files to probabilities",
}


@dataclass(frozen=True)
class BenchRow:
    """Measurement of one contender in one case. Times are per image, in ms; spreads are over rounds.

    scope: a key of SCOPES. gate: None for all but the cascade, whose continue fraction was `forced` or came from an
    `eta`. ratios: speed-ups over other rows, by the keys of `with_ratios`; `ideal` is the plain DeiT's MACs over this
    row's. accuracy: None without labels; joules: None without a counter.
    """

    scope: str
    batch: int
    threads: int
    contender: str
    precision: str
    gate: Mapping[str, float] | None
    pictures: int
    rounds: int
    steady: bool
    ms: Spread
    rounds_ms: Sequence[float]
    latency_ms: Mapping[str, float]  # p50, p95, p99
    steps_ms: Mapping[str, float]
    gmacs: float | None
    continued: float | None
    ideal: float | None
    ratios: Mapping[str, Spread] = field(default_factory=dict)
    accuracy: float | None = None
    joules: float | None = None
    failed: int = 0
    note: str = ""

    @property
    def images_per_second(self) -> float:
        """Throughput, from the median time."""
        return 1000 / self.ms.median

    @property
    def name(self) -> str:
        """Contender, gate (`23%` forced, `eta 0.6` real) and precision, which tell the rows of a case apart."""
        gates = [f"{value:.0%}" if kind == "forced" else f"eta {value:g}" for kind, value in (self.gate or {}).items()]
        return " ".join([self.contender, *gates, self.precision])

    def steps(self) -> dict[str, float]:
        """Return milliseconds by step with the rest; decoding overlaps the engines, so steps may exceed the total."""
        rest = self.ms.median - sum(self.steps_ms.values())
        return {**self.steps_ms, "rest": rest} if rest > 0.005 else dict(self.steps_ms)


@dataclass(frozen=True)
class StartupResult:
    """Start-up of one contender: a fresh process that answers one image, from its start to its end."""

    contender: str
    precision: str
    seconds: Spread
    open_ms: Spread  # loading library, model and engines
    first_ms: Spread  # the first image alone
    peak_mb: float | None  # resident memory; None where the system does not report it
    runs: int


@dataclass(frozen=True)
class BenchReport:
    """Result of a whole bench."""

    facts: Mapping[str, Any]  # machine, bundle, runtime, pictures, energy, notes; the JSON's keys
    rows: Sequence[BenchRow]
    processes: Sequence[StartupResult] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, as `bench.schema.json` describes it."""
        rows = [{**asdict(row), "images_per_second": row.images_per_second, "name": row.name} for row in self.rows]
        return {"kind": KIND, "schema": SCHEMA, **self.facts, "rows": rows, "processes": [*map(asdict, self.processes)]}


def read_json(path: Path) -> BenchReport:
    """Read a report that `sacvit bench` wrote. Raises UsageError for any other file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); name a file that sacvit bench wrote") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise UsageError(f"{path} is no result of sacvit bench; name a file that its --json or --out wrote")
    if data.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {data.get('schema')!r}, this sacvit-deploy reads {SCHEMA}; bench both with one version"
        )
    try:
        facts = {key: value for key, value in data.items() if key not in ("kind", "schema", "rows", "processes")}
        return BenchReport(facts, [_row(row) for row in data["rows"]], [_process(entry) for entry in data["processes"]])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is incomplete or was changed ({error!r}); bench again") from error


def _row(data: Mapping[str, Any]) -> BenchRow:
    fields = {key: value for key, value in data.items() if key not in ("images_per_second", "name")}
    ratios = {name: _spread(value) for name, value in fields.pop("ratios").items()}
    return BenchRow(**{**fields, "ms": _spread(fields["ms"]), "ratios": ratios})


def _process(data: Mapping[str, Any]) -> StartupResult:
    return StartupResult(**{**data, **{key: _spread(data[key]) for key in ("seconds", "open_ms", "first_ms")}})


def _spread(data: Mapping[str, Any]) -> Spread:
    spread = Spread(*(float(data[key]) for key in ("median", "low", "high")))
    if not -math.inf < spread.low <= spread.median <= spread.high < math.inf:
        raise ValueError(f"no spread: {data}")
    return spread
