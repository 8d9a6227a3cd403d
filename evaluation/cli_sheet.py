"""`sacvit overlay-sheet`: a contact sheet of exits and continuing images, and how well the targets cover the object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.commands.common import alpha_option, json_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.coverage import coverage_by_size, coverage_table
from sacvit_deploy.evaluation.metrics import continues
from sacvit_deploy.evaluation.options import eval_options, failures, open_job, print_json, show_heading
from sacvit_deploy.evaluation.outputs import StageAnswers, collect
from sacvit_deploy.evaluation.sheet import Card, choose_rows, draw_sheet, save_sheet, split_count
from sacvit_deploy.glue import check_eta


@click.command("overlay-sheet", cls=StrictCommand)
@eval_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The sheet to write, .png or .jpg.")
@click.option("--count", type=click.IntRange(min=2), default=16, show_default=True, help="Images on the sheet.")
@click.option("--eta", type=float, help="Exit after stage 1 above this probability.  [default: the bundle's]")
@alpha_option
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Changes which images are shown."
)
@json_option
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
    model, geometry = job.model, job.model.config.geometry
    eta = model.eta if eta is None else eta
    alpha = model.config.method.alpha if alpha is None else alpha
    num = model.config.num_targets(alpha)
    outputs = collect(model.cascade, job.dataset, [alpha], batch=job.batch)
    dataset, targets = job.dataset.pick(outputs.rows), outputs.targets[alpha]
    go = continues(outputs.ee.probability, eta)
    kinds = (np.nonzero(~go)[0], np.nonzero(go)[0])
    rng = np.random.default_rng(seed)
    places = split_count(len(kinds[0]), len(kinds[1]), count)
    exits, rest = (choose_rows(rows, dataset.object_px, n, rng) for rows, n in zip(kinds, places, strict=True))

    def cards(rows: Index, stage: StageAnswers, *, shaded: bool) -> list[Card]:
        grid = np.arange(geometry.tokens).reshape(geometry.grid, geometry.grid)
        return [
            Card(
                pixels=dataset.load(row),
                truth=model.labels[dataset.labels[row]],
                answer=model.labels[stage.answer[row]],
                probability=float(stage.probability[row]),
                right=bool(stage.answer[row] == dataset.labels[row]),
                mask=np.isin(grid, targets[row]) if shaded else None,
                box=None if dataset.boxes is None else dataset.boxes[row],
            )
            for row in rows.tolist()
        ]

    heads = (
        f"EXIT at stage 1 (EE): {1 - go.mean():.0%} of the images, done after the half-resolution view",
        f"CONTINUED to stage 2 (SAC): {go.mean():.0%}, {num} of {geometry.tokens} tokens in full",
    )
    title = f"{model.bundle.manifest.name}, eta {eta:g}, alpha {alpha:g}: a random choice of {dataset.kind}"
    left, right = cards(exits, outputs.ee, shaded=False), cards(rest, outputs.sac[alpha], shaded=True)
    save_sheet(draw_sheet(title, left, right, heads), out)
    coverage = []
    if dataset.boxes is not None and dataset.object_px is not None and go.any():
        token = 2 * geometry.patch_size
        coverage = coverage_by_size(dataset.boxes[go], dataset.object_px[go], targets[go], geometry.grid, token)
    if as_json:
        facts = {
            **job.facts(),
            "eta": eta,
            "alpha": alpha,
            "out": str(out),
            "pictures": len(go),
            "continued": int(go.sum()),
            "shown": {
                name: [dataset.names[row] for row in rows] for name, rows in (("exits", exits), ("continuing", rest))
            },
            **failures(outputs),
            "coverage": coverage,
        }
        print_json(facts)
    else:
        show_heading(job, outputs)
        if coverage:
            measured = counted(coverage[-1].images, "continuing image")
            say(f"\n{measured} at eta {eta:g}; {num} targets of {geometry.tokens} tokens:")
            say(f"{coverage_table(coverage)}\n")
        say(f"wrote {out}: {len(exits)} that exited, {len(rest)} that continued")
    return 1 if outputs.overflowed else 0
