"""The report's charts in their frames: as the page's inline SVG, and as PNGs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.report import charts as report_charts
from sacvit_deploy.benchmarks.report.charts import Chart, Titles
from sacvit_deploy.benchmarks.report.results import BenchReport
from sacvit_deploy.console.figures import inline_svg, new_figure, save_png

# Sizes in points; the page is drawn about as wide as a phone, so that its letters stay legible there.
PAGE_WIDTH, PNG_WIDTH, PNG_DPI = 390, 560, 140
QUIET, GRID = "#555555", "#E2E2E2"


def chart_svg(chart: Chart, prefix: str) -> str:
    """Draw a chart as inline SVG. prefix: of its element ids, unique in the page. Raises SacvitError."""
    with new_figure(PAGE_WIDTH, chart.height, font__size=12) as figure:
        return inline_svg(figure, chart.title, _draw(figure, chart), prefix)


def draw_pngs(report: BenchReport, folder: Path) -> list[Path]:
    """Write ratio.png (if several fractions were forced), contenders.png and steps.png. Raises SacvitError."""
    drawings = {
        "ratio": [(chart.title, chart) for chart in report_charts.ratio_lines(report)],
        "contenders": [],
        "steps": [],
    }
    for heading, rows in report_charts.cases(report):
        for name, chart in (("contenders", report_charts.ratio_bars(rows)), ("steps", report_charts.step_bars(rows))):
            if chart is not None:
                drawings[name].append((f"{chart.title}\n{heading}", chart))
    return [_save(charts, folder / f"{name}.png") for name, charts in drawings.items() if charts]


def _save(charts: Sequence[tuple[str, Chart]], path: Path) -> Path:
    """Draw charts under one another; bars share their scale."""
    heights = [chart.height + 20 * (1 + title.count("\n")) for title, chart in charts]
    with new_figure(PNG_WIDTH, sum(heights), font__size=11) as figure:
        parts = figure.subfigures(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0]
        for part, (title, chart) in zip(parts, charts, strict=True):
            _draw(part, chart, title)
        bars = [part.axes[0] for part, (_, chart) in zip(parts, charts, strict=True) if chart.bars]
        widest = max((axes.get_xlim()[1] for axes in bars), default=0)
        for axes in bars:
            axes.set_xlim(0, widest)
        save_png(figure, path, dpi=PNG_DPI)
    return path


def _draw(figure: Any, chart: Chart, title: str = "") -> Titles:
    """Draw a chart, under its title if one is given, into a figure or subfigure; returns the texts shown on hover."""
    figure.patch.set_visible(False)
    axes = figure.add_subplot(frameon=False)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=QUIET)
    axes.set_xlabel(chart.x, color=QUIET)
    axes.set_ylabel(chart.y, color=QUIET)
    axes.grid(axis="x" if chart.bars else "both", color=GRID)
    titles = chart.draw(axes)
    handles, labels = axes.get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    # A legend with a title and no entries is a title; matplotlib would draw a figure's own title over the legend.
    if chart.keys or title:
        figure.legend(
            [by_label[key] for key in chart.keys],
            chart.keys,
            loc="outside lower left" if chart.below else "outside upper left",
            ncols=report_charts.KEY_COLUMNS if chart.bars else 1,
            fontsize="small" if chart.below else None,
            title=title,
            title_fontproperties={"weight": "bold"},
            alignment="left",
            frameon=False,
            borderpad=0,
            handlelength=1.4,
        )
    return titles
