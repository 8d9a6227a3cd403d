"""`sacvit eval`: accuracy, cost and speed of a bundle at several etas, on labelled images."""

from __future__ import annotations

from typing import Any

import click

from sacvit_deploy.commands.common import alpha_option, json_option, numbers
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.evaluation.eval_table import eval_report, eval_table
from sacvit_deploy.evaluation.options import eval_options, failures, open_job, print_json, show_heading
from sacvit_deploy.evaluation.outputs import collect
from sacvit_deploy.glue import check_eta

ETAS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@click.command("eval", cls=StrictCommand)
@eval_options
@click.option("--eta", "etas", callback=numbers, help="Such as 0.5,0.6.  [default: 0, 0.3 to 0.9, 1, the bundle's]")
@alpha_option
@json_option
def command(etas: tuple[float, ...] | None, alpha: float | None, as_json: bool, **options: Any) -> int:
    """Measure a BUNDLE on labelled images: accuracy, MACs and speed at several etas.

    Both stages run once over all images, and every row is computed from that. eta 0 is stage 1 alone (EE), eta 1 is
    stage 2 for every image (SAC). images/s is measured here, from decoded pixels to probabilities.
    """
    chosen = [check_eta(eta) for eta in etas or ()]
    job = open_job(**options)
    model, dataset = job.model, job.dataset
    alpha = model.config.method.alpha if alpha is None else alpha
    count = costs(model.config, alpha)  # an impossible alpha fails here, before the long work
    files = model.backend.files(model.bundle, model.precision)
    baseline = model.backend.open(files[BASELINE], files.get("weights")) if BASELINE in files else None
    outputs = collect(model.cascade, dataset, [alpha], batch=job.batch, baseline=baseline)
    focus = chosen[0] if chosen else model.eta
    sizes = dataset.pick(outputs.rows).object_px
    report = eval_report(outputs, alpha, sorted({*(chosen or (*ETAS, model.eta))}), count, focus, sizes)
    if as_json:
        facts = {
            **job.facts(),
            "alpha": alpha,
            "default_eta": model.eta,
            "pictures": len(outputs.rows),
            **failures(outputs),
            "only": {"ee": report.ee.top1, "sac": report.sac.top1},
            "gmacs": {"ee": count.ee / 1e9, "sac": count.sac / 1e9, "deit": count.deit / 1e9},
            "milliseconds": report.milliseconds,
            "rows": [{"eta": row.eta, "default": row.eta == model.eta, **vars(row)} for row in report.rows],
            "size_buckets": {"eta": focus, "rows": report.by_size},
        }
        print_json(facts)
    else:
        show_heading(job, outputs)
        say(eval_table(report, model))
    return 1 if outputs.overflowed else 0
