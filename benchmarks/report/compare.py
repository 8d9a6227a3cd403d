"""Comparison of two benches, row by row: faster, slower, or within the spread of their rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.report.results import BenchReport, read_json
from sacvit_deploy.benchmarks.report.table import with_range
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.console.tables import Column, text_table

FASTER, SLOWER, SAME = "faster", "slower", "same"
MS, RATIO, PROCESS = "ms", "ratio to DeiT", "process s"


@dataclass(frozen=True)
class RowChange:
    """Change of one row that both benches have. quantity: MS, RATIO or PROCESS; verdict: FASTER, SLOWER or SAME."""

    name: str
    quantity: str
    old: Spread
    new: Spread
    verdict: str

    @property
    def change(self) -> float:
        """Speed of the new bench over the old one's: above 1 is faster."""
        gain = self.old.median / self.new.median
        return 1 / gain if self.quantity == RATIO else gain


@dataclass(frozen=True)
class BenchComparison:
    """Comparison of two benches. same_machine: where False, only ratios within each machine are compared."""

    verdicts: Sequence[RowChange]
    only_old: Sequence[str]
    only_new: Sequence[str]
    same_machine: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "verdicts": [{**asdict(one), "change": one.change} for one in self.verdicts]}

    def table(self) -> str:
        """Format the comparison as text; `to_dict` is its JSON form."""
        lines = []
        if not self.same_machine:
            lines.append("The machines differ: times are not compared, ratios are.")
        if self.verdicts:
            columns: list[Column] = [
                ("row", [one.name for one in self.verdicts]),
                ("", [one.quantity for one in self.verdicts]),
                ("old", [with_range(one.old) for one in self.verdicts]),
                ("new", [with_range(one.new) for one in self.verdicts]),
                ("times better", [f"{one.change:.2f}" for one in self.verdicts]),
                ("verdict", [one.verdict for one in self.verdicts]),
            ]
            lines.append(text_table(columns))
        counts = {word: sum(one.verdict == word for one in self.verdicts) for word in (FASTER, SLOWER, SAME)}
        lines.append(", ".join(f"{count} {word}" for word, count in counts.items()))
        lines += [f"only in the old one: {name}" for name in self.only_old]
        lines += [f"only in the new one: {name}" for name in self.only_new]
        return "\n".join(lines)


def compare_files(old: Path, new: Path) -> BenchComparison:
    """Compare two JSON files that `sacvit bench` wrote. Raises UsageError for other files."""
    return compare(read_json(old), read_json(new))


def compare(old: BenchReport, new: BenchReport) -> BenchComparison:
    """Compare all rows that both reports have."""
    same_machine = old.facts["machine"]["id"] == new.facts["machine"]["id"]
    before, after = _quantities(old), _quantities(new)
    verdicts = [
        RowChange(name, quantity, before[name, quantity], spread, judge(before[name, quantity], spread, quantity))
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


def judge(old: Spread, new: Spread, quantity: str) -> str:
    """Return FASTER or SLOWER only where every round of one lies beyond every round of the other, else SAME."""
    if old.overlaps(new):
        return SAME
    more_is_better = quantity == RATIO
    return FASTER if (new.median > old.median) == more_is_better else SLOWER


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
