"""The sweep as one HTML file: its own SVG, values on hover, nothing loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from sacvit_deploy.console.figures import STYLES
from sacvit_deploy.evaluation.curve import Point
from sacvit_deploy.evaluation.eval_table import percent
from sacvit_deploy.evaluation.figures import nice_step
from sacvit_deploy.evaluation.sweep import Sweep, outline

WIDTH, HEIGHT = 900, 540  # units of the drawing
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 16, 48  # margins around the axes


class Frame:
    """Maps GMACs and accuracies (0 to 1) to the drawing."""

    def __init__(self, found: Sequence[Point], deit_gmacs: float) -> None:
        values = [100 * point.top1.value for point in found]
        self.x_step = nice_step(1.05 * max(deit_gmacs, *(point.gmacs for point in found)) / 8)
        self.y_step = nice_step(max(max(values) - min(values), 1) / 8)
        self.x_end = math.ceil(1.02 * max(deit_gmacs, *(p.gmacs for p in found)) / self.x_step) * self.x_step
        self.y_start = math.floor(min(values) / self.y_step) * self.y_step
        self.y_end = (math.floor(max(values) / self.y_step) + 1) * self.y_step

    def x(self, gmacs: float) -> float:
        """GMACs -> across."""
        return LEFT + gmacs / self.x_end * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Per cent -> down."""
        share = (value - self.y_start) / (self.y_end - self.y_start)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def at(self, point: Point) -> str:
        """`x,y` of a point."""
        return f"{self.x(point.gmacs):.1f},{self.y(100 * point.top1.value):.1f}"


def page(sweep: Sweep) -> str:
    """The whole file."""
    rows = "\n".join(
        f"<tr><td>{p.eta:g}<td>{p.alpha:g}<td>{percent(p.top1)}<td>{100 * p.continue_fraction:.1f}<td>{p.gmacs:.3f}"
        f"<td>{p.gmac_ratio:.2f}"
        for p in sweep.front
    )
    choice = ""
    if sweep.choice is not None:
        choice = f"<p>Chosen {escape(sweep.choice.goal)}: <b>{escape(told(sweep.choice.point))}</b></p>"
    data = escape(str(sweep.facts.get("data", "")))
    return PAGE.format(title=escape(sweep.title), choice=choice, svg=svg(sweep), rows=rows, data=data)


def svg(sweep: Sweep) -> str:
    """The drawing: a line and dots for each alpha, the front behind them."""
    every = [point for curve in sweep.curves.values() for point in curve]
    frame = Frame(every, sweep.deit_gmacs)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="top-1 against GMACs">', _axes(frame)]
    x = frame.x(sweep.deit_gmacs)
    parts.append(
        f'<path class="deit" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text class="note" transform="translate({x - 5:.1f},{HEIGHT - BOTTOM - 8})rotate(-90)">'
        "plain DeiT's cost</text>"
    )
    parts.append(f'<polyline class="front" points="{" ".join(frame.at(point) for point in sweep.front)}"/>')
    for number, (alpha, curve) in enumerate(sweep.curves.items()):
        colour = STYLES[number % len(STYLES)][0]
        shown = outline(curve)
        line = " ".join(frame.at(point) for point in shown)
        parts.append(f'<g fill="{colour}" stroke="{colour}"><polyline fill="none" points="{line}"/>')
        parts += [_dot(frame, point, 6 if point is curve[-1] else 3) for point in shown]
        y = TOP + 20 + 20 * number  # upper left: cheap and accurate at once is where no curve goes
        end_x, end_y = frame.at(curve[-1]).split(",")
        parts.append(
            f'<circle cx="{LEFT + 20}" cy="{y}" r="5"/>'
            f'<text class="key" x="{LEFT + 32}" y="{y + 4}">alpha {alpha:g}</text>'
            f'<text class="key" x="{float(end_x) + 9:.1f}" y="{float(end_y) + 4:.1f}">{alpha:g}</text></g>'
        )
    if sweep.choice is not None:
        parts.append(f'<g class="choice">{_dot(frame, sweep.choice.point, 9)}</g>')
    return "\n".join([*parts, "</svg>"])


def _dot(frame: Frame, point: Point, radius: int) -> str:
    """A dot with its values; the title shows them where scripts are off."""
    x, y = frame.at(point).split(",")
    return f'<circle cx="{x}" cy="{y}" r="{radius}"><title>{told(point)}</title></circle>'


def told(point: Point) -> str:
    """A point in words."""
    return (
        f"eta {point.eta:g}, alpha {point.alpha:g}: top-1 {percent(point.top1)} %, "
        f"{100 * point.continue_fraction:.1f} % continue, {point.gmacs:.3f} GMACs, "
        f"{point.gmac_ratio:.2f}x fewer than DeiT"
    )


def _axes(frame: Frame) -> str:
    parts = []
    for step in range(round(frame.x_end / frame.x_step) + 1):
        value = step * frame.x_step
        x = frame.x(value)
        parts.append(f'<path class="grid" d="M{x:.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
        under = HEIGHT - BOTTOM + 16
        parts.append(f'<text class="tick" x="{x:.1f}" y="{under}" text-anchor="middle">{value:.4g}</text>')
    for step in range(round((frame.y_end - frame.y_start) / frame.y_step) + 1):
        value = frame.y_start + step * frame.y_step
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) // 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">GMACs a picture</text>')
    parts.append(f'<text class="tick" transform="translate(16,{HEIGHT // 2})rotate(-90)">top-1, %</text>')
    return "\n".join(parts)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 1.5rem auto; padding: 0 1rem; color: #222 }}
svg {{ width: 100%; font-size: 12px }}
.grid {{ stroke: #e4e4e4 }} .tick, .note {{ fill: #444; stroke: none }} .key {{ fill: #222; stroke: none }}
.deit {{ stroke: #666; stroke-dasharray: 5 4 }}
.front {{ fill: none; stroke: #000; stroke-opacity: .2; stroke-width: 8; stroke-linejoin: round }}
.choice circle {{ fill: transparent; stroke: #000; stroke-width: 2.5 }}
circle:hover {{ stroke: #000; stroke-width: 3 }}
#told {{ min-height: 1.5em; font-weight: 600 }}
table {{ border-collapse: collapse; margin-top: .5rem }} td, th {{ padding: .15rem .8rem; text-align: right }}
tr:nth-child(even) {{ background: #f4f4f4 }}
</style>
<h1 style="font-size:1.2rem">{title}</h1>
<p>Data: {data}. Grey band: the Pareto front. Large dots: stage 2 for every picture (eta 1). All lines begin where every
picture exits after stage 1 (eta 0).</p>
{choice}
<p id="told">Move over a dot.</p>
{svg}
<details open><summary>The Pareto front</summary>
<table><tr><th>eta<th>alpha<th>top-1 % (95 %)<th>continue %<th>GMACs<th>x fewer than DeiT
{rows}
</table></details>
<script>
document.querySelector("svg").addEventListener("pointerover", e => {{
  const title = e.target.querySelector && e.target.querySelector("title");
  if (title) document.getElementById("told").textContent = title.textContent;
}});
</script>
</html>
"""
