"""`sacvit overlay-sheet`: a contact sheet of exits and continuing images, and how well the targets cover the object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.coverage import coverage_by_size, coverage_table
from sacvit_deploy.evaluation.metrics import continues
from sacvit_deploy.evaluation.options import eval_options, failures, open_job, show_notes
from sacvit_deploy.evaluation.outputs import collect
from sacvit_deploy.evaluation.sheet import draw_sheet, save_sheet
from sacvit_deploy.evaluation.sheet_cards import choose_rows, make_card, split_count
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import check_eta


@click.command("overlay-sheet")
@eval_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The sheet to write, .png or .jpg.")
@click.option("--count", type=click.IntRange(min=2), default=16, show_default=True, help="Images on the sheet.")
@click.option("--eta", type=float, help="Exit after stage 1 above this probability.  [default: the bundle's]")
@click.option("--alpha", type=float, help="Share of tokens that stage 2 sees in full.  [default: the bundle's]")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Changes which images are shown."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    out: Path, count: int, eta: float | None, alpha: float | None, seed: int, as_json: bool, **options: Any
) -> int:
    """Draw images that exited after stage 1 beside images that continued, with the targets of stage 2.

    The images are a random choice, not the best ones. With --scenes, whose objects' boxes are known, the share of the
    box that the targets cover is measured over all continuing images, beside that of a random choice of targets.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--out {out}: name a .png or .jpg file")
    if eta is not None:
        check_eta(eta)
    job = open_job(**options)
    model, dataset, geometry = job.model, job.dataset, job.model.config.geometry
    eta = model.eta if eta is None else eta
    alpha = model.config.method.alpha if alpha is None else alpha
    targets = num_targets(alpha, geometry.tokens, model.config.method.rounding)
    outputs = collect(model.cascade, dataset, [alpha], batch=job.batch)
    go = continues(outputs.ee.probability, eta)
    sizes = None if dataset.object_px is None else dataset.object_px[outputs.rows]
    kinds = (np.nonzero(~go)[0], np.nonzero(go)[0])
    rng = np.random.default_rng(seed)
    places = split_count(len(kinds[0]), len(kinds[1]), count)
    exits, rest = (choose_rows(rows, sizes, number, rng) for rows, number in zip(kinds, places, strict=True))
    heads = (
        f"EXIT at stage 1 (EE): {1 - go.mean():.0%} of the images, done after the half-resolution view",
        f"CONTINUED to stage 2 (SAC): {go.mean():.0%}, {targets} of {geometry.tokens} tokens in full",
    )
    sheet = draw_sheet(
        f"{model.bundle.manifest.name}, eta {eta:g}, alpha {alpha:g}: a random choice of {dataset.kind}",
        [make_card(job, outputs, int(row), None) for row in exits],
        [make_card(job, outputs, int(row), alpha) for row in rest],
        heads,
    )
    save_sheet(sheet, out)
    coverage = []
    if dataset.boxes is not None and sizes is not None and go.any():
        boxes = dataset.boxes[outputs.rows]
        coverage = coverage_by_size(
            boxes[go], sizes[go], outputs.targets[alpha][go], geometry.grid, 2 * geometry.patch_size
        )
    if as_json:
        facts = {
            **job.facts(),
            "eta": eta,
            "alpha": alpha,
            "out": str(out),
            "pictures": len(go),
            "continued": int(go.sum()),
            "shown": {
                "exits": [dataset.names[outputs.rows[row]] for row in exits],
                "continuing": [dataset.names[outputs.rows[row]] for row in rest],
            },
            **failures(outputs),
            "coverage": [row.to_dict() for row in coverage],
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        show_notes(job, outputs)
        click.echo(job.heading())
        if coverage:
            measured = counted(coverage[-1].images, "continuing image")
            click.echo(f"\n{measured} at eta {eta:g}; {targets} targets of {geometry.tokens} tokens:")
            click.echo(f"{coverage_table(coverage)}\n")
        click.echo(f"wrote {out}: {len(exits)} that exited, {len(rest)} that continued")
    return 1 if outputs.overflowed else 0
