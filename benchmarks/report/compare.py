"""Comparison of two benches, row by row: faster, slower, or within the spread of their rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacvit_deploy.benchmarks.report.results import BenchReport
from sacvit_deploy.benchmarks.report.table import with_range
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.console.tables import text_table

FASTER, SLOWER, SAME = "faster", "slower", "same"
MS, RATIO, PROCESS = "ms", "ratio to DeiT", "process s"


@dataclass(frozen=True)
class RowChange:
    """Change of one row that both benches have. quantity: MS, RATIO or PROCESS; change: above 1 where new is faster.

    verdict: FASTER or SLOWER only where every round of one bench lies beyond every round of the other, else SAME.
    """

    name: str
    quantity: str
    old: Spread
    new: Spread
    verdict: str
    change: float


@dataclass(frozen=True)
class BenchComparison:
    """Comparison of two benches. same_machine: where False, only ratios within each machine are compared."""

    verdicts: Sequence[RowChange]
    only_old: Sequence[str]
    only_new: Sequence[str]
    same_machine: bool

    def table(self) -> str:
        """Format the comparison as text; `dataclasses.asdict` is its JSON form."""
        lines = []
        if not self.same_machine:
            lines.append("The machines differ: times are not compared, ratios are.")
        if self.verdicts:
            heads = ("row", "", "old", "new", "times better", "verdict")
            rows = [
                (one.name, one.quantity, with_range(one.old), with_range(one.new), f"{one.change:.2f}", one.verdict)
                for one in self.verdicts
            ]
            lines.append(text_table(list(zip(heads, zip(*rows, strict=True), strict=True))))
        verdicts = [one.verdict for one in self.verdicts]
        lines.append(", ".join(f"{verdicts.count(word)} {word}" for word in (FASTER, SLOWER, SAME)))
        lines += [f"only in the old one: {name}" for name in self.only_old]
        lines += [f"only in the new one: {name}" for name in self.only_new]
        return "\n".join(lines)


def compare_benches(old: BenchReport, new: BenchReport) -> BenchComparison:
    """Compare all rows that both reports have."""
    same_machine = old.facts["machine"]["id"] == new.facts["machine"]["id"]
    before, after = _quantities(old), _quantities(new)
    verdicts = [
        _change(name, quantity, before[name, quantity], spread)
        for (name, quantity), spread in after.items()
        if (name, quantity) in before and (same_machine or quantity == RATIO)
    ]
    names_before, names_after = (list(dict.fromkeys(name for name, _ in spreads)) for spreads in (before, after))
    return BenchComparison(
        verdicts,
        only_old=[name for name in names_before if name not in names_after],
        only_new=[name for name in names_after if name not in names_before],
        same_machine=same_machine,
    )


def _change(name: str, quantity: str, old: Spread, new: Spread) -> RowChange:
    change = new.median / old.median if quantity == RATIO else old.median / new.median
    if old.low <= new.high and new.low <= old.high:
        verdict = SAME
    else:
        verdict = FASTER if (new.median > old.median) == (quantity == RATIO) else SLOWER
    return RowChange(name, quantity, old, new, verdict, change)


def _quantities(report: BenchReport) -> dict[tuple[str, str], Spread]:
    """Return every spread of a report by row name and quantity."""
    spreads: dict[tuple[str, str], Spread] = {}
    for row in report.rows:
        name = f"{row.scope}, batch {row.batch}, {row.threads} threads: {row.name}"
        spreads[name, MS] = row.ms
        if "deit" in row.ratios:
            spreads[name, RATIO] = row.ratios["deit"]
    for process in report.processes:
        spreads[f"process: {process.contender} {process.precision}", PROCESS] = process.seconds
    return spreads
