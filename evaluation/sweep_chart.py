"""The sweep as a chart: accuracy against cost, drawn once for the PNG and for the page's inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.console.figures import STYLES, inline_svg, new_figure, save_png
from sacvit_deploy.evaluation.sweep import Sweep, SweepPoint, thinned

# In points. The page's chart is about as wide as a phone, so that its letters stay legible there.
PAGE_SIZE, PNG_SIZE, PNG_DPI = (420, 430), (600, 440), 140
GREY = "#555555"
OUTLINE = 60  # points drawn of a curve: enough for its shape, few enough to hover over one


def sweep_svg(sweep: Sweep) -> str:
    """Draw the chart as inline SVG that shows a point's values on hover. Raises SacvitError without matplotlib."""
    with new_figure(*PAGE_SIZE, font__size=11) as figure:
        return inline_svg(figure, "top-1 against GMACs per image", _draw(figure, sweep, legend_columns=2), "sweep")


def save_sweep_png(sweep: Sweep, path: Path) -> None:
    """Draw the chart with its title and the choice in words into a PNG. Raises SacvitError."""
    with new_figure(*PNG_SIZE, font__size=10) as figure:
        _draw(figure, sweep, legend_columns=4)
        (axes,) = figure.axes
        axes.set_title(sweep.title, loc="left", fontsize=11)
        if sweep.choice is not None:
            _describe_choice(axes, sweep.choice.point)
        save_png(figure, path, dpi=PNG_DPI)


def describe_point(point: SweepPoint) -> str:
    """Describe a point in one line: eta, alpha, top-1, continue fraction and GMACs."""
    return (
        f"eta {point.eta:g}, alpha {point.alpha:g}: top-1 {point.top1.percent_interval} %, "
        f"{100 * point.continue_fraction:.1f} % continue, {point.gmacs:.3f} GMACs, "
        f"{point.gmac_ratio:.2f}x fewer than DeiT"
    )


def _draw(figure: Any, sweep: Sweep, legend_columns: int) -> dict[str, list[str]]:
    """Draw all but the title; returns the texts to show on hover, by the gid of their artist."""
    axes = figure.add_subplot()
    titles: dict[str, list[str]] = {}

    def plot(gid: str, points: Sequence[SweepPoint], **style: Any) -> None:
        x, y = [point.gmacs for point in points], [_percent(point) for point in points]
        axes.plot(x, y, gid=gid, **style)
        if "marker" in style:
            titles[gid] = [describe_point(point) for point in points]

    plot("front", sweep.front, color="black", linewidth=6, alpha=0.2, label="Pareto front", zorder=1)
    for number, (alpha, curve) in enumerate(sweep.curves.items()):
        colour, marker = STYLES[number % len(STYLES)]
        look = {"color": colour, "marker": marker}
        drawn = thinned(curve, OUTLINE)
        plot(f"alpha-{number}", drawn, **look, linewidth=1, markersize=3, label=f"alpha {alpha:g}", zorder=2)
        plot(f"sac-{number}", curve[-1:], **look, markersize=8, zorder=4)
    start = next(iter(sweep.curves.values()))[:1]
    plot("ee", start, color="black", marker="*", markersize=13, linestyle="none", label="EE only (eta 0)", zorder=5)
    (key,) = axes.plot([], [], color=GREY, marker="o", markersize=8, linestyle="none", label="SAC only (eta 1)")
    key.set_in_layout(False)  # unclipped, it would claim room at (0, 0)
    axes.axvline(sweep.deit_gmacs, color=GREY, linestyle="--", linewidth=1, label="plain DeiT's cost")
    if sweep.choice is not None:
        _mark_choice(axes, sweep.choice.point)
        titles["choice"] = [describe_point(sweep.choice.point)]
    axes.set_xlabel("GMACs per image (lower is cheaper)")
    axes.set_ylabel("top-1, %")
    axes.set_xlim(left=0)
    axes.grid(color="#E2E2E2")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=legend_columns, frameon=False)
    return titles


def _mark_choice(axes: Any, point: SweepPoint) -> None:
    """Put a ring around the chosen point, with the interval of its accuracy."""
    y, ends = _percent(point), [100 * end for end in point.top1.interval]
    axes.plot([point.gmacs] * 2, ends, color="black", marker="_", zorder=6)
    ring = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 2, "linestyle": "none"}
    axes.plot([point.gmacs], [y], color="black", marker="o", label="chosen", gid="choice", zorder=6, **ring)


def _describe_choice(axes: Any, point: SweepPoint) -> None:
    """Write the choice into the upper left corner, which curves from the lower left to the upper right leave free."""
    text = (
        f"chosen: eta {point.eta:g}, alpha {point.alpha:g}\n"
        f"{_percent(point):.1f} %, {100 * (1 - point.continue_fraction):.0f} % exit,\n"
        f"{point.gmac_ratio:.2f}x fewer GMACs than DeiT"
    )
    axes.annotate(
        text,
        (point.gmacs, _percent(point)),
        (0.02, 0.97),
        textcoords="axes fraction",
        ha="left",
        va="top",
        fontsize="small",
        zorder=7,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "#888888"},
        arrowprops={"arrowstyle": "-", "color": "#888888"},
    )


def _percent(point: SweepPoint) -> float:
    return 100 * point.top1.value
