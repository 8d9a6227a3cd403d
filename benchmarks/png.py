"""The report's charts as PNGs, for a README; needs matplotlib, the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.charts import Bars, Lines, cases, ratio_bars, ratio_lines, step_bars
from sacvit_deploy.benchmarks.results import Report
from sacvit_deploy.benchmarks.svg import COLOURS
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.figures import STYLES

DPI = 110


def draw_all(report: Report, folder: Path) -> list[Path]:
    """Write ratio.png (lines, where several shares were forced), contenders.png and steps.png. Raises SacvitError."""
    written = []
    lines = ratio_lines(report)
    if lines:
        written.append(_draw(lines, folder / "ratio.png"))
    named = [(heading, rows) for heading, rows in cases(report)]
    bars = [(heading, chart) for heading, rows in named if (chart := ratio_bars(rows)) is not None]
    if bars:
        written.append(_draw([_titled(chart, heading) for heading, chart in bars], folder / "contenders.png"))
    written.append(_draw([_titled(step_bars(rows), heading) for heading, rows in named], folder / "steps.png"))
    return written


def _titled(chart: Bars, heading: str) -> Bars:
    return Bars(f"{chart.title}\n{heading}", chart.x, chart.bars, chart.mark)


def _draw(charts: Sequence[Lines | Bars], path: Path) -> Path:
    matplotlib = load_matplotlib()
    heights = [4.0 if isinstance(chart, Lines) else 1.4 + 0.34 * len(chart.bars) for chart in charts]
    figure = matplotlib.figure.Figure(figsize=(8, sum(heights)), layout="constrained", dpi=DPI)
    axes = figure.subplots(len(charts), 1, squeeze=False, height_ratios=heights)[:, 0]
    for chart, axis in zip(charts, axes, strict=True):
        if isinstance(chart, Lines):
            _lines(axis, chart)
        else:
            _bars(axis, chart)
        axis.set_title(chart.title, fontsize=10, loc="left")
        axis.set_xlabel(chart.x)
    bars = [(chart, axis) for chart, axis in zip(charts, axes, strict=True) if isinstance(chart, Bars)]
    if bars:
        # One scale and one legend, beside the bars and not over them.
        widest = max(axis.get_xlim()[1] for _, axis in bars)
        named: dict[str, Any] = {}
        for _, axis in bars:
            axis.set_xlim(0, widest)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                named.setdefault(label, handle)
        figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=4, fontsize=8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except OSError as error:
        raise SacvitError(f"can't write {path}: {error.strerror or error}") from error
    return path


def _lines(axis: Any, chart: Lines) -> None:
    for number, line in enumerate(chart.lines):
        xs, ys = zip(*line.points, strict=True)
        if line.dashed:
            axis.plot(xs, ys, "--", color="#444", label=line.label)
            continue
        colour, marker = STYLES[number % len(STYLES)]
        spreads = [spread for spread in line.spreads if spread is not None]
        errors = [
            [y - s.low for y, s in zip(ys, spreads, strict=True)],
            [s.high - y for y, s in zip(ys, spreads, strict=True)],
        ]
        axis.errorbar(xs, ys, errors, color=colour, marker=marker, capsize=3, label=line.label)
    axis.set_ylabel(chart.y)
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)


def _bars(axis: Any, chart: Bars) -> None:
    seen: set[str] = set()
    for row, bar in enumerate(chart.bars):
        start = 0.0
        for name, length in bar.parts:
            label = None if name in seen else name
            axis.barh(row, length, left=start, color=COLOURS.get(name, "#666"), label=label)
            seen.add(name)
            start += length
        if bar.spread is not None:
            axis.plot([bar.spread.low, bar.spread.high], [row, row], color="black", linewidth=1.5)
        if bar.mark is not None:
            label = chart.mark if chart.mark not in seen else None
            axis.plot([bar.mark, bar.mark], [row - 0.45, row + 0.45], color="#D55E00", linewidth=2.5, label=label)
            seen.add(chart.mark)
    axis.set_yticks(range(len(chart.bars)), [f"{bar.label}  {bar.text}" for bar in chart.bars], fontsize=8)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
