"""Comparison of two benches, row by row: faster, slower, or within the spread of their rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacvit_deploy.benchmarks.report.results import BenchReport
from sacvit_deploy.benchmarks.report.table import with_range
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.console.tables import text_table

FASTER, SLOWER, SAME, UNTOLD = "faster", "slower", "same", "too few rounds"
FEWEST = 3  # rounds: two lie apart by chance too often
MS, RATIO, PROCESS = "ms", "ratio to DeiT", "process s"


@dataclass(frozen=True)
class RowChange:
    """Change of one row that both benches have. quantity: MS, RATIO or PROCESS; change: above 1 where new is faster.

    verdict: FASTER or SLOWER only where every round of one bench lies beyond every round of the other, else SAME;
    UNTOLD where one has fewer rounds than FEWEST.
    """

    name: str
    quantity: str
    old: Spread
    new: Spread
    verdict: str
    change: float


@dataclass(frozen=True)
class BenchComparison:
    """Comparison of two benches. same_machine: where False, only ratios within each machine are compared.

    notes: what else is not the same. Other images decode and exit otherwise, so rows from files, and those of a real
    gate, are then left out.
    """

    verdicts: Sequence[RowChange]
    only_old: Sequence[str]
    only_new: Sequence[str]
    same_machine: bool
    notes: Sequence[str] = ()

    def table(self) -> str:
        """Format the comparison as text; `dataclasses.asdict` is its JSON form."""
        lines = []
        if not self.same_machine:
            lines.append("The machines differ: times are not compared, ratios are.")
        lines += self.notes
        if self.verdicts:
            heads = ("row", "", "old", "new", "times better", "verdict")
            rows = [
                (one.name, one.quantity, with_range(one.old), with_range(one.new), f"{one.change:.2f}", one.verdict)
                for one in self.verdicts
            ]
            lines.append(text_table(list(zip(heads, zip(*rows, strict=True), strict=True))))
        verdicts = [one.verdict for one in self.verdicts]
        counts = {word: verdicts.count(word) for word in (FASTER, SLOWER, SAME, UNTOLD)}
        lines.append(", ".join(f"{count} {word}" for word, count in counts.items() if count or word != UNTOLD))
        lines += [f"only in the old one: {name}" for name in self.only_old]
        lines += [f"only in the new one: {name}" for name in self.only_new]
        return "\n".join(lines)


def compare_benches(old: BenchReport, new: BenchReport) -> BenchComparison:
    """Compare all rows that both reports have."""
    same_machine = old.facts["machine"]["id"] == new.facts["machine"]["id"]
    same_images = old.facts["pictures"] == new.facts["pictures"]
    before, after = _quantities(old, same_images), _quantities(new, same_images)
    verdicts = [
        _change(name, quantity, before[name, quantity], measured)
        for (name, quantity), measured in after.items()
        if (name, quantity) in before and (same_machine or quantity == RATIO)
    ]
    names_before, names_after = (list(dict.fromkeys(name for name, _ in spreads)) for spreads in (before, after))
    return BenchComparison(
        verdicts,
        only_old=[name for name in names_before if name not in names_after],
        only_new=[name for name in names_after if name not in names_before],
        same_machine=same_machine,
        notes=_differences(old, new),
    )


def _differences(old: BenchReport, new: BenchReport) -> list[str]:
    notes = []
    if old.facts["pictures"] != new.facts["pictures"]:
        told = " and ".join(f"{facts['pictures']['name']}" for facts in (old.facts, new.facts))
        notes.append(f"The images differ ({told}): rows from files and of a real gate are not compared.")
    for what, key in (("models", "config"), ("alphas", "alpha")):
        if old.facts["bundle"][key] != new.facts["bundle"][key]:
            notes.append(f"The {what} differ: what is compared is one model with another.")
    if old.facts["runtime"] != new.facts["runtime"]:
        notes.append(f"The runtimes differ: {old.facts['runtime']} and {new.facts['runtime']}.")
    return notes


def _change(name: str, quantity: str, before: tuple[Spread, int], after: tuple[Spread, int]) -> RowChange:
    (old, rounds), (new, more_rounds) = before, after
    change = new.median / old.median if quantity == RATIO else old.median / new.median
    if min(rounds, more_rounds) < FEWEST:
        verdict = UNTOLD
    elif old.low <= new.high and new.low <= old.high:
        verdict = SAME
    else:
        verdict = FASTER if (new.median > old.median) == (quantity == RATIO) else SLOWER
    return RowChange(name, quantity, old, new, verdict, change)


def _quantities(report: BenchReport, same_images: bool) -> dict[tuple[str, str], tuple[Spread, int]]:
    """Return every spread of a report, and its number of rounds, by row name and quantity."""
    spreads: dict[tuple[str, str], tuple[Spread, int]] = {}
    for row in report.rows:
        if not same_images and (row.scope == "file" or "eta" in (row.gate or {})):
            continue
        name = f"{row.scope}, batch {row.batch}, {row.threads} threads: {row.name}"
        spreads[name, MS] = row.ms, row.rounds
        if "deit" in row.ratios:
            spreads[name, RATIO] = row.ratios["deit"], row.rounds
    for process in report.processes:
        spreads[f"process: {process.contender} {process.precision}", PROCESS] = process.seconds, process.runs
    return spreads
