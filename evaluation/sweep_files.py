"""Writes a sweep as JSON, as a PNG, and as one HTML file that loads nothing: the chart and the Pareto front."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.metrics import to_json
from sacvit_deploy.evaluation.sweep import Sweep
from sacvit_deploy.evaluation.sweep_chart import describe_point, save_sweep_png, sweep_svg


def write_sweep(sweep: Sweep, folder: Path, *, chart: bool) -> list[Path]:
    """Write sweep.json, sweep.png and sweep.html; without `chart`, no PNG and a page with its table alone.

    Returns the paths written. Raises SacvitError.
    """
    data, image, page = (folder / f"sweep.{suffix}" for suffix in ("json", "png", "html"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(sweep, indent=1, default=to_json) + "\n", encoding="utf-8")
        if chart:
            save_sweep_png(sweep, image)
        page.write_text(sweep_page(sweep, chart=chart), encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write the sweep into {os.fspath(folder)}: {error.strerror or error}") from error
    return [data, image, page] if chart else [data, page]


def sweep_page(sweep: Sweep, *, chart: bool) -> str:
    """Render the page. chart: draw it, which needs matplotlib; else the table alone, with a line that says so."""
    rows = "\n".join(
        f"<tr><td>{point.eta:g}<td>{point.alpha:g}<td>{point.top1.percent_interval}"
        f"<td>{100 * point.continue_fraction:.1f}<td>{point.gmacs:.3f}<td>{point.gmac_ratio:.2f}"
        for point in sweep.front
    )
    choice = ""
    if sweep.choice is not None:
        choice = f"<p>Chosen {escape(sweep.choice.goal)}: <b>{escape(describe_point(sweep.choice.point))}</b></p>"
    return PAGE.format(
        title=escape(sweep.title),
        data=escape(str(sweep.facts.get("data", ""))),
        choice=choice,
        chart=f"<p>{EXPLAINED}</p>\n{sweep_svg(sweep)}" if chart else f"<p>{MISSING}</p>",
        rows=rows,
    )


EXPLAINED = """All curves begin at the star, where every image exits after stage 1 (eta 0), and end at a large marker,
where every image continues to stage 2 (eta 1). Point at a marker for its values."""
MISSING = "No chart: drawing it needs matplotlib, <code>pip install 'sacvit-deploy[plot]'</code>."
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,"><title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 0; color: #222; background: #fff }}
main {{ max-width: 42rem; margin: 0 auto; padding: .5rem 1rem 2rem }}
h1 {{ font-size: 1.3rem }} h2 {{ font-size: 1.1rem; margin: 1.6rem 0 .4rem }}
svg {{ display: block; width: 100%; height: auto }}
svg use:hover {{ stroke: #000 !important; stroke-width: 3 !important }}
.wide {{ overflow-x: auto }} table {{ border-collapse: collapse; font-size: .88rem }}
td, th {{ padding: .15rem .6rem; text-align: right; white-space: nowrap }}
thead th {{ vertical-align: bottom }} tr:nth-child(even) td {{ background: #f5f5f5 }}
@media print {{ tr {{ break-inside: avoid }} * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact }} }}
</style>
<main>
<h1>{title}</h1>
<p>Data: {data}</p>
{choice}
{chart}
<h2>The Pareto front</h2>
<div class="wide"><table>
<thead><tr><th>eta<th>alpha<th>top-1 % (95 %)<th>continue %<th>GMACs<br>per image<th>x fewer<br>than DeiT
<tbody>
{rows}
</table></div>
</main></html>
"""
