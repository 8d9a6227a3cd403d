"""`sacvit sweep`: accuracy against cost over eta and alpha, and the choice of a default."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.bundle.defaults import write_defaults
from sacvit_deploy.bundle.write import recover
from sacvit_deploy.commands.common import json_option, numbers
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.console.terminal import say
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BundleError, SacvitError, UsageError
from sacvit_deploy.evaluation.metrics import Correctness
from sacvit_deploy.evaluation.options import eval_options, failures, open_job, print_json, show_heading
from sacvit_deploy.evaluation.outputs import collect
from sacvit_deploy.evaluation.sweep import Sweep, candidate_etas, choose_point, pareto, sweep_alphas, sweep_points
from sacvit_deploy.evaluation.sweep_files import write_sweep
from sacvit_deploy.evaluation.sweep_table import sweep_table


@click.command("sweep", cls=StrictCommand)
@eval_options
@click.option("--alphas", callback=numbers, help="Such as 0.4,0.5.  [default: 0.4 to 0.9 in tenths, and the bundle's]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for sweep.json, sweep.png and sweep.html.")
@click.option(
    "--target-accuracy",
    type=click.FloatRange(min=0, max=100),
    help="Choose the cheapest eta that loses at most this many points against stage 2 for every image.",
)
@click.option(
    "--target-speedup",
    type=click.FloatRange(min=0, min_open=True),
    help="Choose the most accurate eta with at least this many times fewer MACs than the plain DeiT.",
)
@click.option("--write", is_flag=True, help="Make the choice the bundle's default.")
@json_option
def command(
    alphas: tuple[float, ...] | None,
    out: Path | None,
    target_accuracy: float | None,
    target_speedup: float | None,
    write: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Sweep a BUNDLE's eta and alpha on labelled images, and choose defaults.

    Stage 1 runs once over all images, and stage 2 once for each alpha; every eta is computed from that. A target
    chooses eta at the bundle's own alpha, or among --alphas if they are given.

    The accuracy of an eta chosen on the same images is slightly optimistic: choose on one set, and report `sacvit
    eval` on another.
    """
    if target_accuracy is not None and target_speedup is not None:
        raise UsageError("choose by --target-accuracy or by --target-speedup, not by both")
    if write and target_accuracy is None and target_speedup is None:
        raise UsageError("--write needs a choice; add --target-accuracy or --target-speedup")
    no_chart = None  # without matplotlib there is no chart, but all the rest
    if out is not None:
        try:
            load_matplotlib()
        except SacvitError as error:
            no_chart = str(error)
    if write and options["bundle"] is not None:
        recover(options["bundle"])
    job = open_job(**options)
    config, bundle, precision = job.model.config, job.model.bundle, job.model.precision
    if write and not os.access(bundle.path, os.W_OK):
        raise BundleError(f"--write can't change {bundle.path}: the folder is read-only")
    own = config.method.alpha
    cost = {alpha: costs(config, alpha) for alpha in sweep_alphas(alphas, config)}
    outputs = collect(job.model.cascade, job.dataset, list(cost), batch=job.batch)
    etas = candidate_etas(outputs.ee.probability)
    curves = {alpha: sweep_points(Correctness.of(outputs, alpha), etas, alpha, cost[alpha]) for alpha in cost}
    choice, out_of_reach = None, None
    try:
        choice = choose_point(curves, own, alphas or [own], target_accuracy, target_speedup)
    except UsageError as error:
        out_of_reach = error  # raised at the end: what was measured is shown first
    sweep = Sweep(
        title=f"{bundle.manifest.name}, {precision}, on {len(outputs.rows):,} {job.dataset.kind}",
        curves=curves,
        front=pareto([point for curve in curves.values() for point in curve]),
        choice=choice,
        deit_gmacs=cost[own].deit / 1e9,
        facts={**job.facts(), "pictures": len(outputs.rows), "own_alpha": own, **failures(outputs)},
    )
    if not as_json:
        show_heading(job, outputs)
        say(f"\n{sweep_table(sweep, config)}")
    files = [] if out is None else write_sweep(sweep, out, chart=no_chart is None)
    if no_chart is not None:
        say(f"Note: no sweep.png, and no chart in sweep.html: {no_chart}", err=True)
    if choice is not None and write:
        reason = f"eta {choice.point.eta:g}, alpha {choice.point.alpha:g} chosen {choice.goal} on {sweep.title}"
        write_defaults(
            bundle.path,
            eta=choice.point.eta,
            alpha=choice.point.alpha,
            reason=reason,
            precision=precision,
            measured=bundle.variant(precision),
        )
    if as_json:
        print_json({**sweep.to_dict(), "written": bool(choice and write)})
    else:
        for path in files:
            say(f"wrote {path}")
        if choice is not None and write:
            scope = "" if precision == "fp32" else f" (eta for {precision} alone, alpha for all variants)"
            say(f"written: these are now the defaults of {bundle.path}{scope}")
        elif choice is not None:
            say(f"not written; add --write to make them the defaults of {bundle.path}")
    if out_of_reach is not None:
        raise out_of_reach
    return 1 if outputs.overflowed else 0
