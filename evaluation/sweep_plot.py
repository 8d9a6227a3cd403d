"""The sweep as a picture; needs matplotlib, the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sacvit_deploy.console.figures import STYLES, load_matplotlib
from sacvit_deploy.evaluation.curve import Point
from sacvit_deploy.evaluation.sweep import Sweep, outline


def draw(sweep: Sweep, target: Path) -> None:
    """Draw accuracy against multiply-adds, a line for each alpha, into a PNG. Raises SacvitError, OSError."""
    library = load_matplotlib()
    figure = library.figure.Figure(figsize=(9, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for (alpha, curve), (colour, marker) in zip(sweep.curves.items(), _styles(len(sweep.curves)), strict=True):
        shown = outline(curve)
        axes.plot(_x(shown), _y(shown), color=colour, linewidth=1.3, label=f"alpha {alpha:g}", zorder=2)
        axes.plot(_x(curve[-1:]), _y(curve[-1:]), color=colour, marker=marker, markersize=8, zorder=4)
        axes.lines[-2].set_marker(marker)
        axes.lines[-2].set_markersize(3.5)
        axes.lines[-2].set_markevery(6)
    front = list(sweep.front)
    axes.plot(_x(front), _y(front), color="black", linewidth=4, alpha=0.22, label="Pareto front", zorder=1)
    first = next(iter(sweep.curves.values()))[0]
    axes.plot(_x([first]), _y([first]), color="black", marker="*", markersize=14, linestyle="none", zorder=5)
    axes.annotate(
        "EE only\n(eta 0)",
        (first.gmacs, 100 * first.top1.value),
        (-12, 0),
        textcoords="offset points",
        ha="right",
        va="center",
    )
    axes.plot([], [], color="#555555", marker="o", markersize=8, linestyle="none", label="SAC only (eta 1)")
    axes.axvline(sweep.deit_gmacs, color="#666666", linestyle="--", linewidth=1)
    axes.annotate(
        "plain DeiT's cost",
        (sweep.deit_gmacs, 0.02),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="bottom",
        fontsize=9,
        color="#444444",
    )
    if sweep.choice is not None:
        _mark_choice(axes, sweep.choice.point)
    axes.set_title(sweep.title, loc="left", fontsize=11)
    axes.set_xlabel("GMACs a picture (lower is cheaper)")
    axes.set_ylabel("top-1, %")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", fontsize=9)
    figure.savefig(target, dpi=130)


def _mark_choice(axes: Any, point: Point) -> None:
    """The choice with its interval."""
    low, high = (100 * end for end in point.top1.interval)
    y = 100 * point.top1.value
    axes.errorbar(
        [point.gmacs],
        [y],
        yerr=[[y - low], [high - y]],
        color="black",
        capsize=4,
        zorder=6,
        marker="o",
        markersize=11,
        markerfacecolor="none",
        markeredgewidth=2,
    )
    text = (
        f"chosen: eta {point.eta:g}, alpha {point.alpha:g}\n{y:.1f} %, {1 - point.continue_fraction:.0%} exit,\n"
        f"{point.gmac_ratio:.2f}x fewer GMACs than DeiT"
    )
    # Curves rise from the lower left to the upper right, so the upper left corner is free.
    axes.annotate(
        text,
        (point.gmacs, y),
        (0.02, 0.97),
        textcoords="axes fraction",
        ha="left",
        va="top",
        fontsize=9,
        zorder=7,
        bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": "#888888"},
        arrowprops={"arrowstyle": "-", "color": "#888888"},
    )


def _styles(count: int) -> list[tuple[str, str]]:
    return [STYLES[at % len(STYLES)] for at in range(count)]


def _x(found: list[Point] | Any) -> list[float]:
    return [point.gmacs for point in found]


def _y(found: list[Point] | Any) -> list[float]:
    return [100 * point.top1.value for point in found]
