"""`sacvit sweep`: accuracy against cost over eta and alpha, and the choice of a default."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.bundle.defaults import write_defaults
from sacvit_deploy.commands.common import numbers
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.evaluation.curve import candidate_etas, choose_accuracy, choose_speedup, pareto, points
from sacvit_deploy.evaluation.eval_table import Answers, bare
from sacvit_deploy.evaluation.options import Job, failures, job_options, open_job, show_notes
from sacvit_deploy.evaluation.outputs import collect
from sacvit_deploy.evaluation.sweep import Choice, Sweep, write_files
from sacvit_deploy.evaluation.sweep_table import table
from sacvit_deploy.geometry import num_targets

ALPHAS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # the paper's table 7


@click.command("sweep")
@job_options
@click.option("--alphas", callback=numbers, help="Like 0.4,0.5.  [default: 0.4 to 0.9 in tenths, and the bundle's]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for sweep.json, sweep.png and sweep.html.")
@click.option(
    "--target-accuracy",
    type=click.FloatRange(min=0, max=100),
    help="Choose the cheapest eta that loses at most so many points against stage 2 for every picture.",
)
@click.option(
    "--target-speedup",
    type=click.FloatRange(min=0, min_open=True),
    help="Choose the most accurate eta with at least so many times fewer multiply-adds than the plain DeiT.",
)
@click.option("--write", is_flag=True, help="Make the choice the bundle's default.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    alphas: tuple[float, ...] | None,
    out: Path | None,
    target_accuracy: float | None,
    target_speedup: float | None,
    write: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Sweep a BUNDLE's eta and alpha on labelled pictures, and choose defaults.

    Stage 1 runs once over all pictures and stage 2 once for each alpha; every eta is computed from that. A target
    chooses eta at the bundle's own alpha, and alpha, too, if --alphas is given.

    The accuracy of an eta chosen on the same pictures is slightly optimistic: choose on one set, and report `sacvit
    eval` on another.
    """
    if target_accuracy is not None and target_speedup is not None:
        raise UsageError("choose by --target-accuracy or by --target-speedup, not by both")
    chooses = target_accuracy is not None or target_speedup is not None
    if write and not chooses:
        raise UsageError("--write needs a choice; add --target-accuracy or --target-speedup")
    if out is not None:
        load_matplotlib()  # before the long work
    job = open_job(**options)
    if write and not os.access(job.model.bundle.path, os.W_OK):
        raise BundleError(f"--write can't change {job.model.bundle.path}: the folder is read-only")
    config, bundle = job.model.config, job.model.bundle
    own = config.method.alpha
    grid = sorted({own, *(ALPHAS if alphas is None else alphas)})
    if alphas is None:
        grid = [alpha for alpha in grid if alpha == own or possible(job, alpha)]
    cost = {alpha: costs(config, alpha) for alpha in grid}
    outputs = collect(job.model.cascade, job.pictures, grid, batch=job.batch)
    etas = candidate_etas(outputs.ee.probability)
    curves = {alpha: points(Answers.of(outputs, alpha), etas, alpha, cost[alpha]) for alpha in grid}
    found = [point for curve in curves.values() for point in curve]
    choice, out_of_reach = None, None
    allowed = [point for point in found if point.alpha in ((own,) if alphas is None else alphas)]
    try:
        if target_accuracy is not None:
            reference = curves[own][-1].top1  # eta 1: everybody continues
            goal = f"within {target_accuracy:g} points of SAC-only at alpha {own:g} ({bare(reference)} %)"
            choice = Choice(choose_accuracy(allowed, reference, target_accuracy), goal)
        elif target_speedup is not None:
            goal = f"at least {target_speedup:g} times fewer multiply-adds than the DeiT"
            choice = Choice(choose_speedup(allowed, target_speedup), goal)
    except UsageError as error:
        out_of_reach = error  # what was measured is shown before it ends the command
    sweep = Sweep(
        title=f"{bundle.manifest.name}, {job.model.precision}, on {len(outputs.rows):,} {job.pictures.kind}",
        curves=curves,
        front=pareto(found),
        choice=choice,
        deit_gmacs=cost[own].deit / 1e9,
        facts={**job.facts(), "pictures": len(outputs.rows), "own_alpha": own, **failures(outputs)},
    )
    if not as_json:
        show_notes(job, outputs)
        click.echo(f"{job.heading()}\n\n{table(sweep, config)}")
    written = [] if out is None else write_files(sweep, out)
    if choice is not None and write:
        reason = f"eta {choice.point.eta:g}, alpha {choice.point.alpha:g} chosen {choice.goal} on {sweep.title}"
        chosen = {"eta": choice.point.eta, "alpha": choice.point.alpha}
        write_defaults(bundle.path, **chosen, reason=reason, precision=job.model.precision)
    precision = job.model.precision
    its_own = "" if precision == "fp32" else f" (eta for {precision} alone, alpha for all variants)"
    if as_json:
        click.echo(json.dumps({**sweep.to_dict(), "written": bool(choice and write)}, indent=1))
    else:
        for path in written:
            click.echo(f"wrote {path}")
        if choice is not None:
            click.echo(
                f"written: these are now the defaults of {bundle.path}{its_own}"
                if write
                else f"not written; say --write to make them the defaults of {bundle.path}"
            )
    if out_of_reach is not None:
        raise out_of_reach
    return 1 if outputs.overflowed else 0


def possible(job: Job, alpha: float) -> bool:
    """Whether a grid of these tokens has that alpha: a tiny one may have no room for the paper's."""
    config = job.model.config
    try:
        num_targets(alpha, config.geometry.tokens, config.method.rounding)
    except UsageError:
        return False
    return True
