"""Charts as inline SVG: narrow enough that their letters stay readable on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sacvit_deploy.benchmarks.charts import Bars, Dots, Lines
from sacvit_deploy.evaluation.figures import STYLES, nice_step

WIDTH = 420  # units, about the pixels of a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 42
HEIGHT = 290
BAR, GAP = 15, 34  # height of a bar, distance of two
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
    "opponents": "#8FA3B3",
}


def draw_lines(chart: Lines) -> str:
    """Lines with dots and whiskers, and their key above."""
    xs = [x for line in chart.lines for x, _ in line.points]
    tops = [y for line in chart.lines for _, y in line.points]
    tops += [spread.high for line in chart.lines for spread in line.spreads if spread is not None]
    frame = _Frame(0, max(xs), 0, max(tops))
    parts = [
        _open(chart.title, HEIGHT + 18 * len(chart.lines)),
        f'<g transform="translate(0,{18 * len(chart.lines)})">',
    ]
    parts += frame.axes(chart.x, chart.y)
    for number, line in enumerate(chart.lines):
        colour = "#444" if line.dashed else STYLES[number % len(STYLES)][0]
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{path}"/>')
        key_y = -18 * (len(chart.lines) - number) + 12
        parts.append(f'<path stroke="{colour}" stroke-width="2"{dash} d="M{LEFT},{key_y - 4}h22"/>')
        parts.append(f'<text x="{LEFT + 30}" y="{key_y}">{escape(line.label)}</text>')
        for (x, y), spread in zip(line.points, line.spreads, strict=True):
            told = f"{line.label}, {x:.0f} %: {y:.2f}x"
            if spread is not None:
                whisker = f"M{frame.x(x):.1f},{frame.y(spread.low):.1f}V{frame.y(spread.high):.1f}"
                parts.append(f'<path stroke="{colour}" d="{whisker}"/>')
                told += f" ({spread.low:.2f}-{spread.high:.2f})"
            if not line.dashed:
                parts.append(_dot(frame.x(x), frame.y(y), 4, colour, told))
    return "\n".join([*parts, "</g></svg>"])


def draw_bars(chart: Bars) -> str:
    """Bars under their names, with the value, the whiskers and the mark of each; a key of the parts where there are."""
    names = list(dict.fromkeys(name for bar in chart.bars for name, _ in bar.parts))
    keys = names if len(names) > 1 else []
    longest = max(
        max(sum(length for _, length in bar.parts), bar.mark or 0, bar.spread.high if bar.spread else 0)
        for bar in chart.bars
    )
    end = longest * 1.02 or 1.0
    key_rows = -(-len(keys) // 3) + bool(chart.mark)
    top = 18 * key_rows + 6
    height = top + GAP * len(chart.bars) + 40
    width = WIDTH - 8 - RIGHT

    def x(value: float) -> float:
        return 8 + value / end * width

    parts = [_open(chart.title, height)]
    for number, name in enumerate(keys):
        at_x, at_y = 8 + (number % 3) * 135, 12 + 18 * (number // 3)
        parts.append(f'<rect x="{at_x}" y="{at_y - 9}" width="11" height="11" fill="{COLOURS.get(name, "#666")}"/>')
        parts.append(f'<text x="{at_x + 15}" y="{at_y}">{escape(name)}</text>')
    if chart.mark:
        at_y = 12 + 18 * (key_rows - 1)
        parts.append(f'<path class="mark" d="M13,{at_y - 10}v12"/><text x="23" y="{at_y}">{escape(chart.mark)}</text>')
    step = nice_step(end / 5)
    for number in range(int(end / step) + 1):
        at = x(number * step)
        parts.append(f'<path class="grid" d="M{at:.1f},{top}V{height - 32}"/>')
        parts.append(f'<text x="{at:.1f}" y="{height - 18}" text-anchor="middle" class="tick">{number * step:g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{height - 3}" text-anchor="middle" class="tick">{escape(chart.x)}</text>')
    for number, bar in enumerate(chart.bars):
        y = top + GAP * number + 13
        value = f'<text x="{WIDTH - RIGHT}" y="{y - 2}" text-anchor="end" class="value">{escape(bar.text)}</text>'
        parts.append(f'<text x="8" y="{y - 2}">{escape(bar.label)}</text>{value}')
        start = 0.0
        for name, length in bar.parts:
            told = escape(f"{bar.label}, {name}: {length:.2f}")
            wide = max(0.0, x(start + length) - x(start))
            parts.append(
                f'<rect x="{x(start):.1f}" y="{y + 1}" width="{wide:.1f}" height="{BAR}" '
                f'fill="{COLOURS.get(name, "#666")}"><title>{told}</title></rect>'
            )
            start += length
        if bar.spread is not None:
            parts.append(
                f'<path class="whisker" d="M{x(bar.spread.low):.1f},{y + 1 + BAR / 2}H{x(bar.spread.high):.1f}"/>'
            )
        if bar.mark is not None:
            parts.append(f'<path class="mark" d="M{x(bar.mark):.1f},{y - 1}v{BAR + 4}"/>')
    return "\n".join([*parts, "</svg>"])


def draw_dots(chart: Dots) -> str:
    """Numbered dots, and what the numbers mean under them."""
    xs, ys = [x for _, x, _ in chart.dots], [y for _, _, y in chart.dots]
    room = max(1.0, max(ys) - min(ys)) * 0.1
    frame = _Frame(0, max(xs), max(0.0, min(ys) - room), min(100.0, max(ys) + room))
    parts = [_open(chart.title, HEIGHT + 16 * len(chart.dots)), *frame.axes(chart.x, chart.y)]
    for number, (label, x, y) in enumerate(chart.dots, 1):
        colour = STYLES[(number - 1) % len(STYLES)][0]
        told = f"{number}: {label}, {y:.1f} % at {x:.1f} images/s"
        parts.append(_dot(frame.x(x), frame.y(y), 5, colour, told))
        parts.append(f'<text x="{frame.x(x) + 8:.1f}" y="{frame.y(y) - 6:.1f}">{number}</text>')
        below = HEIGHT + 16 * number - 4
        parts.append(f'<text x="{LEFT}" y="{below}"><tspan fill="{colour}">●</tspan> {escape(told)}</text>')
    return "\n".join([*parts, "</svg>"])


class _Frame:
    """Axes that begin and end at round numbers."""

    def __init__(self, x_start: float, x_end: float, y_start: float, y_end: float) -> None:
        self.x_step, self.y_step = (
            nice_step(max(end - start, 1e-9) / 5) for start, end in ((x_start, x_end), (y_start, y_end))
        )
        self.x_start, self.y_start = (
            start // step * step for start, step in ((x_start, self.x_step), (y_start, self.y_step))
        )
        self.x_end = -(-x_end // self.x_step) * self.x_step
        self.y_end = -(-y_end // self.y_step) * self.y_step

    def x(self, value: float) -> float:
        """Across."""
        return LEFT + (value - self.x_start) / (self.x_end - self.x_start) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Down."""
        return HEIGHT - BOTTOM - (value - self.y_start) / (self.y_end - self.y_start) * (HEIGHT - TOP - BOTTOM)

    def axes(self, x_label: str, y_label: str) -> Sequence[str]:
        """Grid, numbers and names."""
        parts = []
        for number in range(round((self.x_end - self.x_start) / self.x_step) + 1):
            value = self.x_start + number * self.x_step
            parts.append(f'<path class="grid" d="M{self.x(value):.1f},{TOP}V{HEIGHT - BOTTOM}"/>')
            parts.append(_tick(self.x(value), HEIGHT - BOTTOM + 15, value, "middle"))
        for number in range(round((self.y_end - self.y_start) / self.y_step) + 1):
            value = self.y_start + number * self.y_step
            parts.append(f'<path class="grid" d="M{LEFT},{self.y(value):.1f}H{WIDTH - RIGHT}"/>')
            parts.append(_tick(LEFT - 6, self.y(value) + 4, value, "end"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle" class="tick">{escape(x_label)}</text>')
        across = f"translate(12,{(HEIGHT - BOTTOM + TOP) / 2})rotate(-90)"
        parts.append(f'<text transform="{across}" text-anchor="middle" class="tick">{escape(y_label)}</text>')
        return parts


def _dot(x: float, y: float, radius: int, colour: str, told: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(told)}</title></circle>'


def _tick(x: float, y: float, value: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="tick">{value:g}</text>'


def _open(title: str, height: float) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
