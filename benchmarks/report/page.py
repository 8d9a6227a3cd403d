"""The report as one HTML file that loads nothing: for a browser, a phone and paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import count

from sacvit_deploy.benchmarks.machine.fingerprint import describe_machine
from sacvit_deploy.benchmarks.report.charts import Chart, accuracy_dots, cases, ratio_bars, ratio_lines, step_bars
from sacvit_deploy.benchmarks.report.figures import chart_svg
from sacvit_deploy.benchmarks.report.results import BenchReport
from sacvit_deploy.benchmarks.report.table import case_columns, startup_columns, times
from sacvit_deploy.console.tables import Column


def page(report: BenchReport, *, charts: bool) -> str:
    """Render the whole file. charts: draw them, which needs matplotlib; else tables alone, and a line that says so."""
    facts = report.facts
    name = escape(str(facts["bundle"]["name"]))
    numbers = count(1)

    def grid(drawn: Sequence[Chart | None]) -> str:
        figures = (
            f"<figure><figcaption>{escape(chart.title)}</figcaption>{chart_svg(chart, f'c{next(numbers)}')}</figure>"
            for chart in drawn
            if chart is not None
        )
        return f'<div class="grid">{"".join(figures)}</div>' if charts else ""

    parts = [
        _HEAD.format(title=f"sacvit bench: {name}"),
        f"<h1>What {name} gains on this machine</h1>",
        _headline(report),
        _facts(report),
    ]
    if not charts:
        parts.append("<p>No charts: drawing them needs matplotlib, <code>pip install 'sacvit-deploy[plot]'</code>.</p>")
    lines = ratio_lines(report)
    if lines and charts:
        parts += ["<h2>Times faster than a plain DeiT, by how many images continue</h2>", grid(lines)]
    for heading, rows in cases(report):
        parts.append(f"<section><h2>{escape(heading[0].upper() + heading[1:])}</h2>")
        parts.append(grid([ratio_bars(rows), step_bars(rows), accuracy_dots(rows)]))
        parts += [_table(case_columns(rows, spreads=True)), "</section>"]
    if report.processes:
        parts += ["<h2>A new process, one image</h2>", _table(startup_columns(report.processes))]
    if facts["notes"]:
        parts.append("<h2>Notes</h2><ul>" + "".join(f"<li>{escape(note)}</li>" for note in facts["notes"]) + "</ul>")
    return "\n".join([*filter(None, parts), "</main></html>\n"])


def _headline(report: BenchReport) -> str:
    """List the gain at the largest batch, a sentence for each precision."""
    sentences = []
    for precision in dict.fromkeys(row.precision for row in report.rows):
        rows = [row for row in report.rows if row.precision == precision and row.gate and "deit" in row.ratios]
        if not rows:
            continue
        largest = max(row.batch for row in rows)
        best = min((row for row in rows if row.batch == largest), key=lambda row: row.continued or 0)
        speedup = best.ratios["deit"]
        forced = "made to continue" if best.gate and "forced" in best.gate else "continuing"
        sentences.append(
            f"<li><b>{speedup.median:.2f} times faster</b> ({speedup.low:.2f}-{speedup.high:.2f}) than a plain DeiT in "
            f"{escape(precision)}, with {100 * (best.continued or 0):.0f} % {forced}, batch {best.batch}; "
            f"{times(best.ideal)} fewer MACs{'' if best.steady else '; its rounds did not get steady'}</li>"
        )
    return f'<ul class="headline">{"".join(sentences)}</ul>' if sentences else ""


def _facts(report: BenchReport) -> str:
    facts, machine = report.facts, report.facts["machine"]
    config = facts["bundle"]["config"]["geometry"]
    rounds = sorted({row.rounds for row in report.rows})
    listed = {
        "model": f"width {config['width']}, depth {config['depth']}, {config['image_size']} px, "
        f"alpha {facts['bundle']['alpha']:g}",
        "images": facts["pictures"]["name"],
        "machine": describe_machine(machine),
        "load before, after": f"{machine['load']}, {machine['load_after']}",
        "runtime": f"{facts['runtime']}, Python {machine['python']}, {machine['system']}",
        "energy": ", ".join(facts["energy"]) or "no counter that this process could read",
        "measured": f"{facts['created']}; medians of {', '.join(map(str, rounds))} rounds, all contenders in turn",
    }
    rows = "".join(f"<tr><th>{escape(key)}<td>{escape(value)}" for key, value in listed.items())
    return f'<table class="facts">{rows}</table>'


def _table(columns: Sequence[Column]) -> str:
    head = "".join(f"<th>{escape(name)}" for name, _ in columns)
    rows = zip(*(cells for _, cells in columns), strict=True)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows)
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
svg {{ width: 100%; height: auto }}
.wide {{ overflow-x: auto; margin: .6rem min(0px, (60rem - 100vw) / 2 + 1rem) 0 0 }}
table {{ border-collapse: collapse; font-size: .88rem }}
td, th {{ padding: .15rem .6rem; text-align: right; white-space: nowrap }}
td:first-child, th:first-child, .facts td, .facts th {{ text-align: left }} .facts td {{ white-space: normal }}
tr:nth-child(even) td {{ background: #f5f5f5 }} .facts tr td {{ background: none }} .facts th {{ font-weight: 600 }}
@media print {{
  main {{ max-width: none; padding: 0 }} figure, tr {{ break-inside: avoid }} h2 {{ break-after: avoid }}
  .grid {{ grid-template-columns: 1fr 1fr }} .wide {{ overflow: visible; margin-right: 0 }}
  table {{ font-size: .62rem }}
  td, th {{ padding: .1rem .25rem }} * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact }}
}}
</style>
<main>
"""
