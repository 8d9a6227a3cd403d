"""One case of a bench: all contenders measured in turn, and the rows that result."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sacvit_deploy.arrays import Index
from sacvit_deploy.benchmarks.images import BenchImages
from sacvit_deploy.benchmarks.lineup import Entry
from sacvit_deploy.benchmarks.machine.energy import Meter
from sacvit_deploy.benchmarks.report.results import BenchRow
from sacvit_deploy.benchmarks.rounds import Window, interleave
from sacvit_deploy.benchmarks.running import Feed, Run, run
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.model import SACViT
from sacvit_deploy.scheduler import Item

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class BenchCase:
    """Conditions that all contenders share. scope: a key of `SCOPES`; threads: CPU threads of an engine call."""

    scope: str
    batch: int
    threads: int


def run_case(
    case: BenchCase,
    entries: Sequence[Entry],
    model: SACViT,
    images: BenchImages,
    alpha: float,
    rounds: int,
    meters: Sequence[Meter] = (),
    advance: Callable[[int], object] = int,
) -> list[BenchRow]:
    """Run all contenders in turn and return their rows. advance: called after each run.

    Raises UsageError for a batch that one of them can't take.
    """
    labels = images.labels if images.labelled else None
    entries = [entry for entry in entries if case.scope == "file" or not entry.scaled]
    if case.scope == "engine":
        pixels = images.pixels
        feed: Feed[int] = Feed(range(len(pixels)), lambda row: Item(str(row), pixels[row]), 1, labels)
    else:
        feed = file_feed(model, images, case, labels)
    for entry in entries:
        entry.check(case.batch)

    def once(entry: Entry) -> Callable[[], Run]:
        own = feed if not entry.scaled else file_feed(model, images, case, labels, scaled=True)
        return lambda: run(entry.contender, own, case.batch, meters)

    names = [f"{number} {entry.name}" for number, entry in enumerate(entries)]
    window = interleave(dict(zip(names, map(once, entries), strict=True)), rounds, advance)
    return with_ratios(
        [
            _row(case, entry, name, window, model, alpha, len(images.pixels))
            for entry, name in zip(entries, names, strict=True)
        ]
    )


def file_feed(
    model: SACViT, images: BenchImages, case: BenchCase, labels: Index | None, *, scaled: bool = False
) -> Feed[int]:
    """Feed images from their files: decoded ahead by a thread per core, or one after the other for batch 1."""
    paths = images.paths
    if paths is None:
        raise UsageError(f"--scope file needs image files, and {images.name} are none")
    workers = 1 if case.batch == 1 else usable_cores()
    prepare = model.prepare_scaled if scaled else model.prepare
    return Feed(range(len(paths)), lambda row: prepare(paths[row]), workers, labels)


def _row(
    case: BenchCase, entry: Entry, name: str, window: Window[Run], model: SACViT, alpha: float, count: int
) -> BenchRow:
    runs = window.runs[name]
    ms = [1000 * one.seconds / count for one in runs]
    latencies = [1000 * seconds for one in runs for seconds in one.latencies]
    steps = {
        step: 1000 / count * statistics.median(one.steps.get(step, 0.0) for one in runs) for step in runs[-1].steps
    }
    macs = costs(model.config, alpha)
    gmacs, continued = entry.gmacs(case.batch), None
    if entry.gate is not None:
        continued = runs[-1].continued / count
        gmacs = macs.cascade(continued) / 1e9
    right = runs[-1].right
    joules = [one.joules for one in runs if one.joules is not None]
    return BenchRow(
        scope=case.scope,
        batch=case.batch,
        threads=case.threads,
        contender=entry.name,
        precision=entry.precision,
        gate=entry.gate,
        pictures=count,
        rounds=len(runs),
        steady=window.steady[name],
        ms=spread(ms),
        rounds_ms=ms,
        latency_ms={key: percentile(latencies, share) for key, share in PERCENTILES.items()},
        steps_ms=steps,
        gmacs=gmacs,
        continued=continued,
        ideal=None if gmacs is None else macs.deit / 1e9 / gmacs,
        accuracy=None if right is None or not entry.accuracy else right / count,
        joules=statistics.median(joules) / count if joules else None,
        failed=runs[-1].failed,
        note=entry.note,
    )


def with_ratios(rows: Sequence[BenchRow]) -> list[BenchRow]:
    """Add the speed-ups of each row of a case over others, from the rounds they shared.

    `deit`: over the plain DeiT in the same precision (for a user's own ONNX file, the first DeiT there is);
    `deit.fp32`: over the plain DeiT in fp32; `same.fp32`: over the same contender in fp32.
    """
    extended = []
    for row in rows:
        ratios: dict[str, Spread] = {}
        for other in rows:
            reduced = other.precision == "fp32" and row.precision in ("int8", "fp16")
            if other.contender == BASELINE:
                if row.precision in (other.precision, "as is") and row is not other:
                    ratios.setdefault("deit", ratio(other.rounds_ms, row.rounds_ms))
                if reduced:
                    ratios["deit.fp32"] = ratio(other.rounds_ms, row.rounds_ms)
            if reduced and (other.contender, other.gate) == (row.contender, row.gate):
                ratios["same.fp32"] = ratio(other.rounds_ms, row.rounds_ms)
        extended.append(dataclasses.replace(row, ratios=ratios))
    return extended
