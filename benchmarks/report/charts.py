"""Charts of a report as plain values, which `figures.py` draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sacvit_deploy.benchmarks.report.results import SCOPES, BenchReport, BenchRow
from sacvit_deploy.benchmarks.spread import Spread


@dataclass(frozen=True)
class Line:
    """Line of points (x, y), with the spread of y where it is known; dashed where computed, not measured."""

    label: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[Spread | None]
    dashed: bool = False


@dataclass(frozen=True)
class Lines:
    """Chart of lines over a common x axis."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Bar:
    """Bar with its parts from the left (name, length), a spread of the whole and a mark where they are known."""

    label: str
    parts: Sequence[tuple[str, float]]
    spread: Spread | None = None
    mark: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Bars:
    """Chart of bars from a common zero. mark: the legend of the marks."""

    title: str
    x: str
    bars: Sequence[Bar]
    mark: str = ""


@dataclass(frozen=True)
class Dots:
    """Chart of named dots (label, x, y)."""

    title: str
    x: str
    y: str
    dots: Sequence[tuple[str, float, float]]


def cases(report: BenchReport) -> Iterator[tuple[str, list[BenchRow]]]:
    """Yield the rows of each case, with its description."""
    for (scope, threads, batch), rows in groupby(report.rows, lambda row: (row.scope, row.threads, row.batch)):
        yield f"{SCOPES[scope]}, batch {batch}, {threads} threads", list(rows)


def ratio_lines(report: BenchReport) -> list[Lines]:
    """Chart the speed-up over the plain DeiT by continue fraction, a line for each batch size.

    One chart for each scope, number of threads and precision that has at least two fractions.
    """
    charts = []
    gated = [row for row in report.rows if row.gate is not None and "deit" in row.ratios]
    keys = list(dict.fromkeys((row.scope, row.threads, row.precision) for row in gated))
    for key in keys:
        rows = [row for row in gated if (row.scope, row.threads, row.precision) == key]
        lines = []
        for contender, batch in dict.fromkeys((row.contender, row.batch) for row in rows):
            own = [row for row in rows if (row.contender, row.batch) == (contender, batch)]
            own.sort(key=lambda row: row.continued or 0)
            spreads = [row.ratios["deit"] for row in own]
            points = [(100 * (row.continued or 0), spread.median) for row, spread in zip(own, spreads, strict=True)]
            lines.append(Line(f"{contender}, batch {batch}", points, spreads))
        ideal = sorted({(100 * (row.continued or 0), row.ideal) for row in rows if row.ideal is not None})
        if max(len(line.points) for line in lines) < 2:
            continue
        lines.append(Line("fewer MACs", ideal, [None] * len(ideal), dashed=True))
        scope, threads, precision = key
        title = f"{precision}, {SCOPES[scope]}, {threads} threads"
        charts.append(Lines(title, "images that continue, %", "times faster than DeiT", lines))
    return charts


def ratio_bars(rows: Sequence[BenchRow]) -> Bars | None:
    """Chart the speed-up over the plain DeiT of the same precision; None where no row has one."""
    bars = []
    for row in rows:
        speedup = row.ratios.get("deit")
        if speedup is not None:
            part = ("cascade" if row.gate is not None else "baselines", speedup.median)
            bars.append(Bar(row.name, [part], speedup, row.ideal, f"{speedup.median:.2f}x"))
    return Bars("Times faster than the plain DeiT", "times faster", bars, "fewer MACs") if bars else None


def step_bars(rows: Sequence[BenchRow]) -> Bars:
    """Chart milliseconds per image by step. Decoding overlaps the engines, so steps may exceed the total."""
    bars = []
    for row in rows:
        parts = list(row.steps_ms.items())
        rest = row.ms.median - sum(ms for _, ms in parts)
        if rest > 0.005:
            parts.append(("rest", rest))
        bars.append(Bar(row.name, parts, None, row.ms.median, f"{row.ms.median:.1f} ms"))
    return Bars("Where the time goes", "ms per image", bars, "total")


def accuracy_dots(rows: Sequence[BenchRow]) -> Dots | None:
    """Chart accuracy against throughput; None without labels."""
    dots = [(row.name, row.images_per_second, 100 * row.accuracy) for row in rows if row.accuracy is not None]
    return Dots("Accuracy against throughput", "images per second", "top-1, %", dots) if len(dots) > 1 else None
