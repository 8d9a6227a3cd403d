"""Charts of a report: what each shows, and how matplotlib draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from sacvit_deploy.benchmarks.report.results import SCOPES, BenchReport, BenchRow
from sacvit_deploy.benchmarks.report.table import spread_times
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.console.figures import STYLES

Titles = dict[str, list[str]]  # texts shown on hover, by the gid of their artist
PLOT, BAR, KEY, AXIS = 240, 36, 18, 48  # heights in points: a plot, a bar, a row of the legend, the x axis
KEY_COLUMNS = 3  # of the legend of bars
IDEAL = "fewer MACs"
COLOURS = {
    "decode": "#999999",
    "preprocess": "#CCBB88",
    "view": "#F0E442",
    "ee": "#56B4E9",
    "head": "#56B4E9",
    "gate": "#CC79A7",
    "gather": "#E69F00",
    "glue": "#E69F00",
    "select+gather": "#E69F00",
    "sac": "#0072B2",
    "tail": "#0072B2",
    "engine": "#009E73",
    "answer": "#8B5A2B",
    "rest": "#DDDDDD",
    "cascade": "#0072B2",
    "baselines": "#8FA3B3",
}
OTHER, DASHED, MARK = "#666666", "#444444", "#D55E00"


@dataclass(frozen=True)
class Chart:
    """Chart without its frame. keys: entries of its legend; draw: draws into axes; bars: how many it has."""

    title: str
    x: str
    y: str
    keys: Sequence[str]
    draw: Callable[[Any], Titles]
    bars: int = 0
    below: bool = False  # whether the legend stands below

    @property
    def height(self) -> int:
        """Height with legend and axis, in points."""
        plot = BAR * self.bars or PLOT
        return plot + AXIS + KEY * (-(-len(self.keys) // KEY_COLUMNS) if self.bars else len(self.keys))


@dataclass(frozen=True)
class Bar:
    """Bar with its parts from the left (name, length), a spread of the whole and a mark where they are known."""

    label: str
    parts: Sequence[tuple[str, float]]
    text: str
    mark: float | None
    spread: Spread | None = None


def cases(report: BenchReport) -> Iterator[tuple[str, list[BenchRow]]]:
    """Yield the rows of each case, with its description."""
    for (scope, threads, batch), rows in groupby(report.rows, lambda row: (row.scope, row.threads, row.batch)):
        yield f"{SCOPES[scope]}, batch {batch}, {threads} threads", list(rows)


def ratio_lines(report: BenchReport) -> list[Chart]:
    """Chart the speed-up over the plain DeiT by continue fraction, a line for each batch size.

    One chart for each scope, number of threads and precision that has at least two fractions.
    """
    charts: dict[str, dict[str, list[BenchRow]]] = {}
    for row in report.rows:
        if row.gate is not None and "deit" in row.ratios:
            lines = charts.setdefault(f"{row.precision}, {SCOPES[row.scope]}, {row.threads} threads", {})
            lines.setdefault(f"{row.contender}, batch {row.batch}", []).append(row)
    axes = ("images that continue, %", "times faster than DeiT")
    return [
        Chart(title, *axes, [*lines, IDEAL], partial(_draw_lines, lines))
        for title, lines in charts.items()
        if max(map(len, lines.values())) > 1
    ]


def _draw_lines(lines: Mapping[str, Sequence[BenchRow]], axes: Any) -> Titles:
    titles: Titles = {}
    ideals: set[tuple[float, float]] = set()
    for number, (label, rows) in enumerate(lines.items()):
        colour, marker = STYLES[number % len(STYLES)]
        gid = f"line-{number}"
        rows = sorted(rows, key=lambda row: row.continued or 0)
        xs, ratios = [100 * (row.continued or 0) for row in rows], [row.ratios["deit"] for row in rows]
        axes.plot(xs, [ratio.median for ratio in ratios], color=colour, label=label, marker=marker, gid=gid)
        ends = [ratio.low for ratio in ratios], [ratio.high for ratio in ratios]
        axes.plot([xs, xs], ends, color=colour, linewidth=1, marker="_")
        titles[gid] = [f"{label}, {x:.0f} %: {spread_times(ratio)}" for x, ratio in zip(xs, ratios, strict=True)]
        ideals |= {(x, row.ideal) for x, row in zip(xs, rows, strict=True) if row.ideal is not None}
    axes.plot(*zip(*sorted(ideals), strict=True), "--", color=DASHED, label=IDEAL)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return titles


def ratio_bars(rows: Sequence[BenchRow]) -> Chart | None:
    """Chart the speed-up over the plain DeiT of the same precision; None where no row has one."""
    bars = []
    for row in rows:
        ratio = row.ratios.get("deit")
        if ratio is not None:
            part = ("cascade" if row.gate is not None else "baselines", ratio.median)
            bars.append(Bar(row.name, [part], f"{ratio.median:.2f}x", row.ideal, ratio))
    return _bars("Times faster than the plain DeiT", "times faster", IDEAL, bars) if bars else None


def step_bars(rows: Sequence[BenchRow]) -> Chart:
    """Chart milliseconds per image by step."""
    bars = [Bar(row.name, list(row.steps().items()), f"{row.ms.median:.1f} ms", row.ms.median) for row in rows]
    return _bars("Where the time goes", "ms per image", "total", bars)


def _bars(title: str, x: str, mark: str, bars: Sequence[Bar]) -> Chart:
    """Chart bars from a common zero. The legend names their parts, where there are several, and the mark."""
    names = list(dict.fromkeys(name for bar in bars for name, _ in bar.parts))
    marked = [mark] if any(bar.mark is not None for bar in bars) else []
    keys = (names if len(names) > 1 else []) + marked
    return Chart(title, x, "", keys, partial(_draw_bars, bars, mark), bars=len(bars))


def _draw_bars(bars: Sequence[Bar], mark: str, axes: Any) -> Titles:
    """Draw bars under their names, so that long names take no width, and the values at the right."""
    titles: Titles = {}
    for row, bar in enumerate(bars):
        start = 0.0
        for name, length in bar.parts:
            gid = f"bar-{row}-{name}"
            axes.barh(row, [length], 0.42, left=start, color=COLOURS.get(name, OTHER), label=name, gid=gid)
            titles[gid] = [f"{bar.label}, {name}: {length:.2f}"]
            start += length
        if bar.spread is not None:
            axes.plot([bar.spread.low, bar.spread.high], [row, row], color="black", linewidth=1.5)
        if bar.mark is not None:
            axes.plot([bar.mark] * 2, [row - 0.25, row + 0.25], color=MARK, linewidth=2.5, label=mark)
        axes.text(0, row - 0.26, bar.label, va="bottom")
        axes.text(1, row - 0.26, bar.text, va="bottom", ha="right", weight="bold", transform=axes.get_yaxis_transform())
    axes.set_xlim(left=0)
    axes.set_ylim(len(bars) - 0.6, -0.85)
    axes.set_yticks([])
    return titles


def accuracy_dots(rows: Sequence[BenchRow]) -> Chart | None:
    """Chart accuracy against throughput as numbered dots, which the legend names; None without labels."""
    dots: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row.accuracy is not None:
            x, y = row.images_per_second, 100 * row.accuracy
            dots[f"{len(dots) + 1}: {row.name}, {y:.1f} % at {x:.1f} images/s"] = (x, y)
    if len(dots) < 2:
        return None
    draw = partial(_draw_dots, dots)
    return Chart("Accuracy against throughput", "images per second", "top-1, %", list(dots), draw, below=True)


def _draw_dots(dots: Mapping[str, tuple[float, float]], axes: Any) -> Titles:
    axes.margins(y=0.12)
    for number, (text, (x, y)) in enumerate(dots.items(), 1):
        colour, marker = STYLES[(number - 1) % len(STYLES)]
        axes.plot([x], [y], marker, color=colour, label=text, gid=f"dot-{number}")
        # To either side in turn: contenders of the same accuracy stand close together.
        offset, side = ((5, 4), "left") if number % 2 else ((-5, -11), "right")
        axes.annotate(str(number), (x, y), offset, textcoords="offset points", ha=side)
    axes.set_xlim(left=0)
    return {f"dot-{number}": [text] for number, text in enumerate(dots, 1)}
