"""Measure one case of a bench: all contenders in turn, and the rows that result."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sacvit_deploy.benchmarks.images import BenchImages
from sacvit_deploy.benchmarks.lineup import Entry
from sacvit_deploy.benchmarks.machine.energy import Meter
from sacvit_deploy.benchmarks.report.results import BenchRow
from sacvit_deploy.benchmarks.rounds import interleave
from sacvit_deploy.benchmarks.running import Feed, Run, median_steps, run_pass
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread_of
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import Costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.item import Item
from sacvit_deploy.model import SACViT

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
    feed_of: Callable[[Entry], Feed],
    macs: Costs,
    rounds: int,
    meters: Sequence[Meter] = (),
    advance: Callable[[int], object] = int,
) -> list[BenchRow]:
    """Run all contenders in turn and return their rows. feed_of: their images; advance: called after each run.

    Raises UsageError for a batch that one of them can't take.
    """
    entries = [entry for entry in entries if case.scope == "file" or not entry.scaled]
    for entry in entries:
        entry.check(case.batch)

    def once(entry: Entry) -> Callable[[], Run]:
        feed = feed_of(entry)
        return lambda: run_pass(entry.contender, feed, case.batch, meters)

    window = interleave(dict(enumerate(map(once, entries))), rounds, advance)
    return with_ratios(
        [
            _row(case, entry, window.runs[number], macs, feed_of(entry).count, steady=window.steady[number])
            for number, entry in enumerate(entries)
        ]
    )


def make_feed(case: BenchCase, model: SACViT, images: BenchImages, entry: Entry) -> Feed:
    """Feed decoded images, or files: decoded ahead by a thread per core, or one after the other for batch 1."""
    labels, count = images.labels, len(images.pixels)
    if case.scope == "engine":
        return Feed(count, lambda row: Item(str(row), images.pixels[row]), 1, labels)
    paths = images.paths
    assert paths is not None  # or there is no such scope
    prepare = model.prepare_scaled if entry.scaled else model.prepare
    return Feed(count, lambda row: prepare(paths[row]), 1 if case.batch == 1 else usable_cores(), labels)


def _row(case: BenchCase, entry: Entry, runs: Sequence[Run], macs: Costs, count: int, *, steady: bool) -> BenchRow:
    ms = [1000 * one.seconds / count for one in runs]
    latencies = [1000 * seconds for one in runs for seconds in one.latencies]
    gmacs, continued = entry.gmacs(case.batch), None
    last = runs[-1]
    if entry.gate is not None:
        continued = last.continued / count
        gmacs = macs.cascade(continued) / 1e9
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
        steady=steady,
        ms=spread_of(ms),
        rounds_ms=ms,
        latency_ms={key: percentile(latencies, share) for key, share in PERCENTILES.items()},
        steps_ms=median_steps(runs, count),
        gmacs=gmacs,
        continued=continued,
        ideal=None if gmacs is None else macs.deit / 1e9 / gmacs,
        accuracy=None if last.right is None or not entry.accuracy else last.right / count,
        joules=statistics.median(joules) / count if joules else None,
        failed=last.failed,
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
