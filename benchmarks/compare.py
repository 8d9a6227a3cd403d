"""Two benches, row by row: better, worse, or within what their rounds differ by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.results import Report, read_json
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.benchmarks.table import aligned

FASTER, SLOWER, SAME = "faster", "slower", "same"
MS, RATIO, PROCESS = "ms", "ratio to DeiT", "process s"


@dataclass(frozen=True)
class Verdict:
    """One row that both benches have. quantity: MS, RATIO or PROCESS."""

    name: str
    quantity: str
    old: Spread
    new: Spread
    verdict: str

    @property
    def change(self) -> float:
        """How many times faster (or less) the new one is."""
        gain = self.old.median / self.new.median
        return 1 / gain if self.quantity == RATIO else gain


@dataclass(frozen=True)
class Comparison:
    """All of them. same_machine: where False, times are not compared, only ratios within each machine."""

    verdicts: Sequence[Verdict]
    only_old: Sequence[str]
    only_new: Sequence[str]
    same_machine: bool

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self), "verdicts": [{**asdict(one), "change": one.change} for one in self.verdicts]}

    def table(self) -> str:
        """The same for people."""
        lines = []
        if not self.same_machine:
            lines.append("The machines differ: times are not compared, ratios are.")
        if self.verdicts:
            columns = [
                ("row", [one.name for one in self.verdicts]),
                ("", [one.quantity for one in self.verdicts]),
                ("old", [_told(one.old) for one in self.verdicts]),
                ("new", [_told(one.new) for one in self.verdicts]),
                ("times better", [f"{one.change:.2f}" for one in self.verdicts]),
                ("verdict", [one.verdict for one in self.verdicts]),
            ]
            lines.append(aligned(columns))
        found = {word: sum(one.verdict == word for one in self.verdicts) for word in (FASTER, SLOWER, SAME)}
        lines.append(", ".join(f"{count} {word}" for word, count in found.items()))
        lines += [f"only in the old one: {name}" for name in self.only_old]
        lines += [f"only in the new one: {name}" for name in self.only_new]
        return "\n".join(lines)


def compare_files(old: Path, new: Path) -> Comparison:
    """Compare two files that `sacvit bench` wrote. Raises UsageError for other files."""
    return compare(read_json(old), read_json(new))


def compare(old: Report, new: Report) -> Comparison:
    """Compare all rows that both have."""
    same_machine = old.facts["machine"]["id"] == new.facts["machine"]["id"]
    before, after = _quantities(old), _quantities(new)
    verdicts = [
        Verdict(name, quantity, before[name, quantity], spread, judge(before[name, quantity], spread, quantity))
        for (name, quantity), spread in after.items()
        if (name, quantity) in before and (same_machine or quantity == RATIO)
    ]
    names_before, names_after = (list(dict.fromkeys(name for name, _ in found)) for found in (before, after))
    return Comparison(
        verdicts,
        only_old=[name for name in names_before if name not in names_after],
        only_new=[name for name in names_after if name not in names_before],
        same_machine=same_machine,
    )


def judge(old: Spread, new: Spread, quantity: str) -> str:
    """A verdict only where every round of one lies beyond every round of the other."""
    if old.overlaps(new):
        return SAME
    more_is_better = quantity == RATIO
    return FASTER if (new.median > old.median) == more_is_better else SLOWER


def _quantities(report: Report) -> dict[tuple[str, str], Spread]:
    """Every spread of a report by its row's name and its quantity."""
    found: dict[tuple[str, str], Spread] = {}
    for row in report.rows:
        name = f"{row.scope}, batch {row.batch}, {row.threads} threads: {row.name}"
        found[name, MS] = row.ms
        if "deit" in row.ratios:
            found[name, RATIO] = row.ratios["deit"]
    for process in report.processes:
        found[f"process: {process.contender} {process.precision}", PROCESS] = process.seconds
    return found


def _told(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"
