"""The cases of a bench, one after the other, and the rows they become."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Index
from sacvit_deploy.benchmarks.energy import Meter
from sacvit_deploy.benchmarks.field import Entry
from sacvit_deploy.benchmarks.pictures import Material
from sacvit_deploy.benchmarks.results import BASELINE, Row
from sacvit_deploy.benchmarks.rounds import Window, interleave
from sacvit_deploy.benchmarks.running import Feed, Run, run
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread
from sacvit_deploy.costs import costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.scheduler import Item

SCOPES = ("engine", "file")
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Case:
    """One set of circumstances, the same for all contenders."""

    scope: str
    batch: int
    threads: int


def measure(
    case: Case,
    entries: Sequence[Entry],
    model: SACViT,
    material: Material,
    alpha: float,
    rounds: int,
    meters: Sequence[Meter] = (),
    note: Callable[[], object] = int,
) -> list[Row]:
    """Run all contenders in turn and return their rows. Raises UsageError for a batch that one of them can't take."""
    labels = material.labels if material.labelled else None
    entries = [entry for entry in entries if case.scope == "file" or not entry.scaled]
    if case.scope == "engine":
        images = material.images
        feed: Feed[int] = Feed(range(len(images)), lambda row: Item(str(row), images[row]), 1, labels)
    else:
        feed = file_feed(model, material, case, labels)
    for entry in entries:
        entry.check(case.batch)

    def once(entry: Entry) -> Callable[[], Run]:
        own = feed if not entry.scaled else file_feed(model, material, case, labels, scaled=True)
        return lambda: run(entry.contender, own, case.batch, meters)

    names = [f"{number} {entry.name}" for number, entry in enumerate(entries)]
    window = interleave(dict(zip(names, map(once, entries), strict=True)), rounds, note)
    return with_ratios(
        [
            _row(case, entry, name, window, model, alpha, len(material.images))
            for entry, name in zip(entries, names, strict=True)
        ]
    )


def file_feed(
    model: SACViT, material: Material, case: Case, labels: Index | None, *, scaled: bool = False
) -> Feed[int]:
    """Pictures from their files: decoded ahead by a thread a core, one after the other where the batch is one."""
    paths = material.paths
    if paths is None:
        raise UsageError(f"--scope file needs picture files, and {material.name} are none")
    workers = 1 if case.batch == 1 else usable_cores()
    prepare = model.prepare_scaled if scaled else model.prepare
    return Feed(range(len(paths)), lambda row: prepare(paths[row]), workers, labels)


def _row(case: Case, entry: Entry, name: str, window: Window[Run], model: SACViT, alpha: float, pictures: int) -> Row:
    runs = window.runs[name]
    ms = [1000 * one.seconds / pictures for one in runs]
    latencies = [1000 * seconds for one in runs for seconds in one.latencies]
    per_picture = 1000 / pictures
    steps = {step: per_picture * statistics.median(one.steps.get(step, 0.0) for one in runs) for step in runs[-1].steps}
    count = costs(model.config, alpha)
    gmacs, continued = entry.gmacs(case.batch), None
    if entry.gate is not None:
        continued = runs[-1].continued / pictures
        gmacs = count.cascade(continued) / 1e9
    right = runs[-1].right
    joules = [one.joules for one in runs if one.joules is not None]
    return Row(
        scope=case.scope,
        batch=case.batch,
        threads=case.threads,
        contender=entry.name,
        precision=entry.precision,
        gate=entry.gate,
        pictures=pictures,
        rounds=len(runs),
        steady=window.steady[name],
        ms=spread(ms),
        rounds_ms=ms,
        latency_ms={key: percentile(latencies, share) for key, share in PERCENTILES.items()},
        steps_ms=steps,
        gmacs=gmacs,
        continued=continued,
        ideal=None if gmacs is None else count.deit / 1e9 / gmacs,
        accuracy=None if right is None or not entry.accuracy else right / pictures,
        joules=statistics.median(joules) / pictures if joules else None,
        failed=runs[-1].failed,
        note=entry.note,
    )


def with_ratios(rows: Sequence[Row]) -> list[Row]:
    """Add how many times faster each row of a case is than others, by the rounds they shared.

    `deit`: the plain DeiT in the same precision (a file that is run as it is: the first there is); `deit.fp32`: the
    plain DeiT in fp32; `same.fp32`: the same contender in fp32.
    """
    found = []
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
        found.append(dataclasses.replace(row, ratios=ratios))
    return found
