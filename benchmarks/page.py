"""The report as one HTML file that loads nothing: for a browser, a phone and paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from sacvit_deploy.benchmarks.charts import accuracy_dots, cases, ratio_bars, ratio_lines, step_bars
from sacvit_deploy.benchmarks.machine import in_words
from sacvit_deploy.benchmarks.results import Report, Row
from sacvit_deploy.benchmarks.svg import draw_bars, draw_dots, draw_lines
from sacvit_deploy.benchmarks.table import spread_times, times
from sacvit_deploy.errors import SacvitError


def write_page(report: Report, path: Path) -> None:
    """Write it. Raises SacvitError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(report), encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write {path}: {error.strerror or error}") from error


def page(report: Report) -> str:
    """The whole file."""
    facts = report.facts
    name = escape(str(facts["bundle"]["name"]))
    parts = [
        _HEAD.format(title=f"sacvit bench: {name}"),
        f"<h1>What {name} gains on this machine</h1>",
        _headline(report),
    ]
    parts.append(_facts(report))
    lines = ratio_lines(report)
    if lines:
        parts.append("<h2>Times faster than a plain DeiT, by how many pictures continue</h2>")
        parts.append(_grid([(chart.title, draw_lines(chart)) for chart in lines]))
    for heading, rows in cases(report):
        parts.append(f"<section><h2>{escape(heading[0].upper() + heading[1:])}</h2>")
        bars, dots = ratio_bars(rows), accuracy_dots(rows)
        charts = [] if bars is None else [(bars.title, draw_bars(bars))]
        steps = step_bars(rows)
        charts.append((steps.title, draw_bars(steps)))
        if dots is not None:
            charts.append((dots.title, draw_dots(dots)))
        parts += [_grid(charts), _rows(rows), "</section>"]
    if report.processes:
        parts.append("<h2>A new process, one picture</h2>" + _processes(report))
    notes = [*facts["notes"]]
    if notes:
        parts.append("<h2>Notes</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    return "\n".join([*parts, "</main></html>\n"])


def _headline(report: Report) -> str:
    """The gain at the largest batch, for each precision, in a sentence."""
    said = []
    for precision in dict.fromkeys(row.precision for row in report.rows):
        rows = [
            row for row in report.rows if row.precision == precision and row.gate is not None and "deit" in row.ratios
        ]
        if not rows:
            continue
        largest = max(row.batch for row in rows)
        best = min((row for row in rows if row.batch == largest), key=lambda row: row.continued or 0)
        found = best.ratios["deit"]
        forced = "made to continue" if best.gate and "forced" in best.gate else "continuing"
        said.append(
            f"<li><b>{found.median:.2f} times faster</b> ({found.low:.2f}-{found.high:.2f}) than a plain DeiT in "
            f"{escape(precision)}, with {100 * (best.continued or 0):.0f} % {forced}, batch {best.batch}; "
            f"{times(best.ideal)} fewer multiply-adds{'' if best.steady else '; its rounds did not get steady'}</li>"
        )
    return f'<ul class="headline">{"".join(said)}</ul>' if said else ""


def _facts(report: Report) -> str:
    facts, machine = report.facts, report.facts["machine"]
    config = facts["bundle"]["config"]["geometry"]
    rounds = sorted({row.rounds for row in report.rows})
    listed = {
        "model": f"width {config['width']}, depth {config['depth']}, {config['image_size']} px, "
        f"alpha {facts['bundle']['alpha']:g}",
        "pictures": facts["pictures"]["name"],
        "machine": in_words(machine),
        "load before, after": f"{machine['load']}, {machine['load_after']}",
        "runtime": f"{facts['runtime']}, Python {machine['python']}, {machine['system']}",
        "energy": ", ".join(facts["energy"]) or "no counter that this process could read",
        "measured": f"{facts['created']}; medians of {', '.join(map(str, rounds))} rounds, all contenders in turn",
    }
    rows = "".join(f"<tr><th>{escape(key)}<td>{escape(value)}" for key, value in listed.items())
    return f'<table class="facts">{rows}</table>'


def _grid(charts: Sequence[tuple[str, str]]) -> str:
    cells = (f"<figure><figcaption>{escape(title)}</figcaption>{svg}</figure>" for title, svg in charts)
    return f'<div class="grid">{"".join(cells)}</div>'


def _rows(rows: Sequence[Row]) -> str:
    """The numbers; columns that nothing could be measured for are left out."""
    reduced = any("deit.fp32" in row.ratios for row in rows)
    heads = ["contender", "GMACs", "ideal", "ms (least-most)", "images/s", "against DeiT"]
    heads += ["against fp32 DeiT"] * reduced + [f"{key} ms" for key in rows[0].latency_ms]
    labelled, metered = (any(getattr(row, key) is not None for row in rows) for key in ("accuracy", "joules"))
    heads += ["top-1 %"] * labelled + ["J"] * metered
    lines = []
    for row in rows:
        cells = [
            row.name + ("" if row.steady else " ~"),
            "-" if row.gmacs is None else f"{row.gmacs:.2f}",
            times(row.ideal),
            f"{row.ms.median:.2f} ({row.ms.low:.2f}-{row.ms.high:.2f})",
            f"{row.images_per_second:.1f}",
            spread_times(row.ratios.get("deit")),
            *([spread_times(row.ratios.get("deit.fp32"))] * reduced),
            *(f"{value:.1f}" for value in row.latency_ms.values()),
            *(["-" if row.accuracy is None else f"{100 * row.accuracy:.1f}"] * labelled),
            *(["-" if row.joules is None else f"{row.joules:.3f}"] * metered),
        ]
        lines.append(cells)
    return _table(heads, lines)


def _processes(report: Report) -> str:
    memory = any(one.peak_mb is not None for one in report.processes)
    heads = ["contender", "s, start to end", "opened after ms", "first picture ms", *(["peak MB"] * memory)]
    lines = [
        [
            f"{one.contender} {one.precision}",
            f"{one.seconds.median:.2f} ({one.seconds.low:.2f}-{one.seconds.high:.2f})",
            f"{one.open_ms.median:.0f}",
            f"{one.first_ms.median:.0f}",
            *(["-" if one.peak_mb is None else f"{one.peak_mb:.0f}"] * memory),
        ]
        for one in report.processes
    ]
    return _table(heads, lines)


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) for cells in lines)
    # A head of its own is printed again on the next sheet of paper.
    return f'<div class="wide"><table><thead><tr>{head}<tbody>{body}</table></div>'


_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 0; color: #222; background: #fff }}
main {{ max-width: 62rem; margin: 0 auto; padding: .5rem 1rem 2rem }}
h1 {{ font-size: 1.4rem }} h2 {{ font-size: 1.1rem; margin: 1.6rem 0 .4rem }}
.headline {{ padding-left: 1.1rem; font-size: 1.05rem }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 1rem }}
figure {{ margin: 0; max-width: 32rem }} figcaption {{ font-weight: 600; margin-bottom: .2rem }}
svg {{ width: 100%; height: auto; font-size: 12px }} svg text {{ fill: #222 }}
.grid .tick {{ fill: #555 }} path.grid {{ stroke: #e2e2e2 }} .value {{ font-weight: 600 }}
.whisker {{ stroke: #000; stroke-width: 1.5 }} .mark {{ stroke: #D55E00; stroke-width: 2.5 }}
.wide {{ overflow-x: auto; margin-top: .6rem }} table {{ border-collapse: collapse; font-size: .88rem }}
td, th {{ padding: .15rem .6rem; text-align: right; white-space: nowrap }}
td:first-child, th:first-child, .facts td, .facts th {{ text-align: left }} .facts td {{ white-space: normal }}
tr:nth-child(even) td {{ background: #f5f5f5 }} .facts tr td {{ background: none }} .facts th {{ font-weight: 600 }}
@media print {{
  main {{ max-width: none; padding: 0 }} figure, tr {{ break-inside: avoid }} h2 {{ break-after: avoid }}
  .grid {{ grid-template-columns: 1fr 1fr }} .wide {{ overflow: visible }} table {{ font-size: .62rem }}
  td, th {{ padding: .1rem .25rem }} * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact }}
}}
</style>
<main>
"""
