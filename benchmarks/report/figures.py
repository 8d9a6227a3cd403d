"""The report's charts by matplotlib: one drawing for the page's inline SVG and for PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.report.charts import Bars, Dots, Lines, cases, ratio_bars, ratio_lines, step_bars
from sacvit_deploy.benchmarks.report.results import BenchReport
from sacvit_deploy.console.figures import STYLES, inline_svg, new_figure, save_png

Chart = Lines | Bars | Dots
Titles = dict[str, list[str]]  # texts shown on hover, by the gid of their artist

# Sizes in points; the page is drawn about as wide as a phone, so that its letters stay legible there.
PAGE_WIDTH, PNG_WIDTH, PNG_DPI = 390, 560, 140
PLOT, BAR, KEY, AXIS = 240, 36, 18, 48  # heights: a plot, a bar with its name, a row of the legend, the x axis
KEY_COLUMNS = 3
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
OTHER, DASHED, MARK, QUIET, GRID = "#666666", "#444444", "#D55E00", "#555555", "#E2E2E2"


def chart_svg(chart: Chart, prefix: str) -> str:
    """Draw a chart as inline SVG. prefix: of its element ids, unique in the page. Raises SacvitError."""
    with new_figure(PAGE_WIDTH, _height(chart), font__size=12) as figure:
        return inline_svg(figure, chart.title, _draw(figure, chart), prefix)


def draw_pngs(report: BenchReport, folder: Path) -> list[Path]:
    """Write ratio.png (if several fractions were forced), contenders.png and steps.png. Raises SacvitError."""
    named = list(cases(report))
    ratios = [(heading, chart) for heading, rows in named if (chart := ratio_bars(rows)) is not None]
    drawings: dict[str, list[tuple[str, Chart]]] = {
        "ratio": [(chart.title, chart) for chart in ratio_lines(report)],
        "contenders": [(f"{chart.title}\n{heading}", chart) for heading, chart in ratios],
        "steps": [(f"{chart.title}\n{heading}", chart) for heading, rows in named for chart in [step_bars(rows)]],
    }
    return [_save(charts, folder / f"{name}.png") for name, charts in drawings.items() if charts]


def _save(charts: Sequence[tuple[str, Chart]], path: Path) -> Path:
    """Draw charts under one another; bars share their scale."""
    heights = [_height(chart) + 20 * (1 + title.count("\n")) for title, chart in charts]
    with new_figure(PNG_WIDTH, sum(heights), font__size=11) as figure:
        parts = figure.subfigures(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, (title, chart) in zip(parts, charts, strict=True):
            _draw(part, chart, title)
        bars = [part.axes[0] for part, (_, chart) in zip(parts, charts, strict=True) if isinstance(chart, Bars)]
        widest = max((axes.get_xlim()[1] for axes in bars), default=0)
        for axes in bars:
            axes.set_xlim(0, widest)
        save_png(figure, path, dpi=PNG_DPI)
    return path


def _height(chart: Chart) -> int:
    """Return the height of a chart with its legend and axis, in points."""
    if isinstance(chart, Lines):
        return PLOT + AXIS + KEY * len(chart.lines)
    if isinstance(chart, Dots):
        return PLOT + AXIS + KEY * len(chart.dots)
    return BAR * len(chart.bars) + AXIS + KEY * -(-len(_keys(chart)) // KEY_COLUMNS)


def _draw(figure: Any, chart: Chart, title: str = "") -> Titles:
    """Draw a chart, under its title if one is given, into a figure or subfigure; returns the texts shown on hover."""
    figure.patch.set_visible(False)
    axes = figure.add_subplot(frameon=False)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=QUIET)
    axes.set_xlabel(chart.x, color=QUIET)
    if isinstance(chart, Bars):
        axes.grid(axis="x", color=GRID)
        titles = _draw_bars(axes, chart)
    else:
        axes.grid(color=GRID)
        axes.set_ylabel(chart.y, color=QUIET)
        titles = _draw_lines(axes, chart) if isinstance(chart, Lines) else _draw_dots(axes, chart)
    handles, labels = axes.get_legend_handles_labels()
    keys = _keys(chart) if isinstance(chart, Bars) else labels
    # A legend with a title and no entries is a title; matplotlib would draw a figure's own title over the legend.
    if keys or title:
        by_label = dict(zip(labels, handles, strict=True))
        columns = KEY_COLUMNS if isinstance(chart, Bars) else 1
        figure.legend(
            [by_label[key] for key in keys],
            keys,
            loc="outside lower left" if isinstance(chart, Dots) else "outside upper left",
            ncols=columns,
            fontsize="small" if isinstance(chart, Dots) else None,
            title=title,
            title_fontproperties={"weight": "bold"},
            alignment="left",
            frameon=False,
            borderpad=0,
            handlelength=1.4,
        )
    return titles


def _draw_lines(axes: Any, chart: Lines) -> Titles:
    titles: Titles = {}
    for number, line in enumerate(chart.lines):
        xs, ys = zip(*line.points, strict=True)
        if line.dashed:
            axes.plot(xs, ys, "--", color=DASHED, label=line.label)
            continue
        colour, marker = STYLES[number % len(STYLES)]
        gid = f"line-{number}"
        axes.plot(xs, ys, color=colour, label=line.label, marker=marker, gid=gid)
        titles[gid] = []
        for x, y, spread in zip(xs, ys, line.spreads, strict=True):
            between = "" if spread is None else f" ({spread.low:.2f}-{spread.high:.2f})"
            titles[gid].append(f"{line.label}, {x:.0f} %: {y:.2f}x{between}")
            if spread is not None:
                axes.plot([x, x], [spread.low, spread.high], color=colour, linewidth=1, marker="_")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return titles


def _draw_bars(axes: Any, chart: Bars) -> Titles:
    """Draw bars under their names, so that long names take no width, and the values at the right."""
    titles: Titles = {}
    for row, bar in enumerate(chart.bars):
        start = 0.0
        for name, length in bar.parts:
            gid = f"bar-{row}-{name}"
            axes.barh(row, [length], 0.42, left=start, color=COLOURS.get(name, OTHER), label=name, gid=gid)
            titles[gid] = [f"{bar.label}, {name}: {length:.2f}"]
            start += length
        if bar.spread is not None:
            axes.plot([bar.spread.low, bar.spread.high], [row, row], color="black", linewidth=1.5)
        if bar.mark is not None:
            axes.plot([bar.mark] * 2, [row - 0.25, row + 0.25], color=MARK, linewidth=2.5, label=chart.mark)
        axes.text(0, row - 0.26, bar.label, va="bottom")
        axes.text(1, row - 0.26, bar.text, va="bottom", ha="right", weight="bold", transform=axes.get_yaxis_transform())
    axes.set_xlim(left=0)
    axes.set_ylim(len(chart.bars) - 0.6, -0.85)
    axes.set_yticks([])
    return titles


def _draw_dots(axes: Any, chart: Dots) -> Titles:
    """Draw numbered dots, which the legend names."""
    titles: Titles = {}
    axes.margins(y=0.12)
    for number, (label, x, y) in enumerate(chart.dots, 1):
        colour, marker = STYLES[(number - 1) % len(STYLES)]
        text, gid = f"{number}: {label}, {y:.1f} % at {x:.1f} images/s", f"dot-{number}"
        axes.plot([x], [y], marker, color=colour, label=text, gid=gid)
        # To either side in turn: contenders of the same accuracy stand close together.
        offset, side = ((5, 4), "left") if number % 2 else ((-5, -11), "right")
        axes.annotate(str(number), (x, y), offset, textcoords="offset points", ha=side)
        titles[gid] = [text]
    axes.set_xlim(left=0)
    return titles


def _keys(chart: Bars) -> list[str]:
    """List the entries of a legend: names of parts where there are several, and the mark."""
    names = list(dict.fromkeys(name for bar in chart.bars for name, _ in bar.parts))
    marked = [chart.mark] if any(bar.mark is not None for bar in chart.bars) else []
    return (names if len(names) > 1 else []) + marked
