"""`sacvit overlay-sheet`: a contact sheet of exits and continuing pictures, and how well targets find the object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.evaluation.coverage import HEADER, by_size, line
from sacvit_deploy.evaluation.data import Float, counted
from sacvit_deploy.evaluation.metrics import goes_on
from sacvit_deploy.evaluation.options import Job, failures, job_options, open_job, show_notes
from sacvit_deploy.evaluation.outputs import Outputs, collect
from sacvit_deploy.evaluation.scenes import size_buckets
from sacvit_deploy.evaluation.sheet import Card, draw_sheet
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import check_eta


@click.command("overlay-sheet")
@job_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The picture to write, .png or .jpg.")
@click.option("--count", type=click.IntRange(min=2), default=16, show_default=True, help="Pictures on the sheet.")
@click.option("--eta", type=float, help="Exit after stage 1 above this probability.  [default: the bundle's]")
@click.option("--alpha", type=float, help="Share of tokens looked at again in full.  [default: the bundle's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which pictures are shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    out: Path, count: int, eta: float | None, alpha: float | None, seed: int, as_json: bool, **options: Any
) -> int:
    """Draw pictures that exited after stage 1 beside pictures that continued, with what stage 2 looked at.

    The pictures are a random choice, not the best ones. With --scenes, whose objects' boxes are known, the share of the
    box that the targets cover is measured over all continuing pictures, beside what a random choice of targets gives.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--out {out}: name a .png or .jpg file")
    if eta is not None:
        check_eta(eta)
    job = open_job(**options)
    config = job.model.config
    geometry = config.geometry
    eta = job.model.eta if eta is None else eta
    alpha = config.method.alpha if alpha is None else alpha
    targets = num_targets(alpha, geometry.tokens, config.method.rounding)
    outputs = collect(job.model.cascade, job.pictures, [alpha], batch=job.batch)
    go = goes_on(outputs.ee.probability, eta)
    sizes = None if job.pictures.object_px is None else job.pictures.object_px[outputs.rows]
    exits, rest = halves(np.nonzero(~go)[0], np.nonzero(go)[0], count)
    rng = np.random.default_rng(seed)
    shown = [mixed(rows, sizes, number, rng) for rows, number in (exits, rest)]
    heads = (
        f"EXIT at stage 1 (EE): {1 - go.mean():.0%} of the pictures, done after the half-size view",
        f"CONTINUED to stage 2 (SAC): {go.mean():.0%}, {targets} of {geometry.tokens} tokens in full",
    )
    cards = [
        [card(job, outputs, int(row), None if part == 0 else alpha) for row in rows] for part, rows in enumerate(shown)
    ]
    title = f"{job.model.bundle.manifest.name}, eta {eta:g}, alpha {alpha:g}: a random choice of {job.pictures.kind}"
    save(draw_sheet(title, cards[0], cards[1], heads), out)
    coverage = []
    boxes = job.pictures.boxes
    if boxes is not None and sizes is not None and go.any():
        found = outputs.targets[alpha][go]
        coverage = by_size(boxes[outputs.rows][go], sizes[go], found, geometry.grid, 2 * geometry.patch_size)
    if as_json:
        facts = {
            **job.facts(),
            "eta": eta,
            "alpha": alpha,
            "out": str(out),
            "pictures": len(go),
            "continued": int(go.sum()),
            "shown": {
                name: [job.pictures.names[outputs.rows[row]] for row in rows]
                for name, rows in zip(("exits", "continuing"), shown, strict=True)
            },
            **failures(outputs),
            "coverage": [row.to_dict() for row in coverage],
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        show_notes(job, outputs)
        click.echo(job.heading())
        if coverage:
            measured = counted(coverage[-1].pictures, "continuing picture")
            click.echo(f"\n{measured} at eta {eta:g}; {targets} targets of {geometry.tokens} tokens:\n{HEADER}")
            for row in coverage:
                click.echo(line(row))
            click.echo("  random: expected of targets chosen blindly; best: the most that so many targets can reach\n")
        click.echo(f"wrote {out}: {len(shown[0])} that exited, {len(shown[1])} that continued")
    return 1 if outputs.overflowed else 0


def halves(exits: Index, rest: Index, count: int) -> tuple[tuple[Index, int], tuple[Index, int]]:
    """How many of each to show: half of `count` each, more of one where the other has too few."""
    first = min(len(exits), max(count - count // 2, count - len(rest)))
    return (exits, first), (rest, min(len(rest), count - first))


def mixed(rows: Index, object_px: Float | None, count: int, rng: np.random.Generator) -> Index:
    """Choose `count` of the rows at random; where sizes are known, in turn from each, and in order of size."""
    order = rng.permutation(rows)
    if object_px is None:
        return order[:count]
    place = np.zeros(len(order), dtype=np.int64)
    for inside in size_buckets(object_px[order]).values():
        place[inside] = np.arange(inside.sum())
    chosen = order[np.argsort(place, kind="stable")][:count]
    return chosen[np.argsort(object_px[chosen], kind="stable")]


def card(job: Job, outputs: Outputs, row: int, alpha: float | None) -> Card:
    """One picture as its stage saw and answered it; alpha None is an exit."""
    stage = outputs.ee if alpha is None else outputs.sac[alpha]
    at, grid = int(outputs.rows[row]), job.model.config.geometry.grid
    labels, truth, said = job.model.labels, int(outputs.labels[row]), int(stage.answer[row])
    mask = None
    if alpha is not None:
        mask = np.isin(np.arange(grid * grid), outputs.targets[alpha][row]).reshape(grid, grid)
    boxes = job.pictures.boxes
    box = None if boxes is None else tuple(float(value) for value in boxes[at])
    return Card(
        pixels=job.pictures.load(at),
        truth=labels[truth],
        answer=labels[said],
        probability=float(stage.probability[row]),
        right=said == truth,
        mask=mask,
        box=None if box is None else (box[0], box[1], box[2], box[3]),
    )


def save(image: Any, target: Path) -> None:
    """Write the sheet. Raises ImageError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target)
    except OSError as error:
        raise ImageError(f"can't write {target}: {error.strerror or error}") from error
