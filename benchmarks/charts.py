"""What the report draws, as plain values: the page draws them as SVG, `png.py` with matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sacvit_deploy.benchmarks.results import Report, Row
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.benchmarks.table import SCOPES


@dataclass(frozen=True)
class Line:
    """Points (x, y) with the spread of y where it is known; dashed for what was computed, not measured."""

    label: str
    points: Sequence[tuple[float, float]]
    spreads: Sequence[Spread | None]
    dashed: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines over a common x axis."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Bar:
    """One bar: its parts from the left (name, length), a spread of the whole and a mark where they are known."""

    label: str
    parts: Sequence[tuple[str, float]]
    spread: Spread | None = None
    mark: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars from a common zero. mark: what the marks mean."""

    title: str
    x: str
    bars: Sequence[Bar]
    mark: str = ""


@dataclass(frozen=True)
class Dots:
    """Named dots (label, x, y)."""

    title: str
    x: str
    y: str
    dots: Sequence[tuple[str, float, float]]


def cases(report: Report) -> Iterator[tuple[str, list[Row]]]:
    """Rows by case, each with the case in words."""
    for (scope, threads, batch), rows in groupby(report.rows, lambda row: (row.scope, row.threads, row.batch)):
        yield f"{SCOPES[scope]}, batch {batch}, {threads} threads", list(rows)


def ratio_lines(report: Report) -> list[Lines]:
    """How many times faster than the plain DeiT, by continue fraction, a line for each batch size.

    One drawing for each scope, number of threads and precision that has at least two fractions.
    """
    found = []
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
        lines.append(Line("fewer multiply-adds", ideal, [None] * len(ideal), dashed=True))
        scope, threads, precision = key
        title = f"{precision}, {SCOPES[scope]}, {threads} threads"
        found.append(Lines(title, "pictures that continue, %", "times faster than DeiT", lines))
    return found


def ratio_bars(rows: Sequence[Row]) -> Bars | None:
    """How many times faster than the plain DeiT of the same precision; None where nobody was compared with one."""
    bars = []
    for row in rows:
        found = row.ratios.get("deit")
        if found is not None:
            part = ("cascade" if row.gate is not None else "opponents", found.median)
            bars.append(Bar(row.name, [part], found, row.ideal, f"{found.median:.2f}x"))
    return Bars("Times faster than the plain DeiT", "times faster", bars, "fewer multiply-adds") if bars else None


def step_bars(rows: Sequence[Row]) -> Bars:
    """Milliseconds a picture by step. Decoding ahead overlaps the engines: the steps may be longer than the whole."""
    bars = []
    for row in rows:
        parts = list(row.steps_ms.items())
        rest = row.ms.median - sum(ms for _, ms in parts)
        if rest > 0.005:
            parts.append(("rest", rest))
        bars.append(Bar(row.name, parts, None, row.ms.median, f"{row.ms.median:.1f} ms"))
    return Bars("Where the time goes", "ms a picture", bars, "all of it, start to end")


def accuracy_dots(rows: Sequence[Row]) -> Dots | None:
    """Accuracy against throughput; None without labels."""
    dots = [(row.name, row.images_per_second, 100 * row.accuracy) for row in rows if row.accuracy is not None]
    return Dots("Accuracy against throughput", "images a second", "top-1, %", dots) if len(dots) > 1 else None
