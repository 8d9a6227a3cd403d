"""`sacvit eval`: accuracy, cost and speed of a bundle at several etas, on labelled pictures."""

from __future__ import annotations

import json
from typing import Any

import click

from sacvit_deploy.commands.common import numbers
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import Costs, costs
from sacvit_deploy.evaluation.baseline import open_baseline
from sacvit_deploy.evaluation.eval_table import (
    HEADER,
    SIZE_HEADER,
    Answers,
    Bucket,
    Row,
    by_size,
    line,
    percent,
    row,
    size_line,
)
from sacvit_deploy.evaluation.options import Job, failures, job_options, open_job, show_notes
from sacvit_deploy.evaluation.outputs import Outputs, collect
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import check_eta

ETAS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@click.command("eval")
@job_options
@click.option("--eta", "etas", callback=numbers, help="Like 0.5,0.6.  [default: 0, 0.3 to 0.9, 1, the bundle's]")
@click.option("--alpha", type=float, help="Share of tokens looked at again in full.  [default: the bundle's]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(etas: tuple[float, ...] | None, alpha: float | None, as_json: bool, **options: Any) -> int:
    """Measure a BUNDLE on labelled pictures: accuracy, multiply-adds and speed at several etas.

    Both stages run once over all pictures, and every row is computed from that. eta 0 is stage 1 alone (EE), eta 1 is
    stage 2 for every picture (SAC). images/s is measured here, from decoded pixels to probabilities.
    """
    wanted = [check_eta(eta) for eta in etas or ()]
    job = open_job(**options)
    default, config = job.model.eta, job.model.config
    alpha = config.method.alpha if alpha is None else alpha
    count = costs(config, alpha)  # an impossible alpha ends it before the long work
    files = job.model.backend.files(job.model.bundle, job.model.precision)
    baseline = open_baseline(job.model.backend, files, config.preprocessing)
    outputs = collect(job.model.cascade, job.pictures, [alpha], batch=job.batch, baseline=baseline)
    answers = Answers.of(outputs, alpha)
    wanted = wanted or [*ETAS, default]
    rows = [row(outputs, answers, alpha, eta, count) for eta in sorted(set(wanted))]
    focus = default if etas is None else wanted[0]
    sizes = job.pictures.object_px
    buckets = [] if sizes is None else by_size(answers, sizes[outputs.rows], focus)
    if as_json:
        ends = {name: answers.score(eta, count).cascade.to_dict() for name, eta in (("ee", 0.0), ("sac", 1.0))}
        facts = {
            **job.facts(),
            "alpha": alpha,
            "default_eta": default,
            "pictures": len(outputs.rows),
            **failures(outputs),
            "only": ends,
            "gmacs": {"ee": count.ee / 1e9, "sac": count.sac / 1e9, "deit": count.deit / 1e9},
            "milliseconds": outputs.times.milliseconds(alpha),
            "rows": [found.to_dict(default) for found in rows],
            "size_buckets": {"eta": focus, "rows": [bucket.to_dict() for bucket in buckets]},
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        show_notes(job, outputs)
        click.echo(table(job, outputs, answers, alpha, count, rows, buckets, focus))
    return 1 if outputs.overflowed else 0


def table(
    job: Job,
    outputs: Outputs,
    answers: Answers,
    alpha: float,
    count: Costs,
    rows: list[Row],
    buckets: list[Bucket],
    focus: float,
) -> str:
    """Everything for people."""
    default, geometry = job.model.eta, job.model.config.geometry
    targets = num_targets(alpha, geometry.tokens, job.model.config.method.rounding)
    ee, sac = (answers.score(eta, count) for eta in (0.0, 1.0))
    spent = outputs.times.milliseconds(alpha)
    steps = f"EE {spent['ee']:.2f} + glue {spent['ee_glue']:.2f}, SAC {spent['sac']:.2f} + glue {spent['sac_glue']:.2f}"
    deit = f"; DeiT {spent['deit']:.2f}" if "deit" in spent else ""
    lines = [
        job.heading(),
        f"alpha {alpha:g}: {targets} of {geometry.tokens} tokens looked at again",
        "",
        f"  EE only    {percent(ee.cascade)} % right at {ee.gmacs:.3f} GMACs a picture",
        f"  SAC only   {percent(sac.cascade)} % right at {sac.gmacs:.3f} GMACs (stage 1 comes first); "
        f"DeiT of this size: {sac.deit_gmacs:.3f} GMACs",
        f"  ms a picture: {steps}{deit}",
        "",
        HEADER,
        *(line(found, default) for found in rows),
    ]
    if any(found.score.eta == default for found in rows):
        lines.append("  > the bundle's default eta")
    if "deit" not in spent:
        lines.append(
            f"  - not measured: the bundle's {job.model.precision} variant has no `{BASELINE}` engine; export it again"
        )
    if buckets:
        lines += ["", f"By longer side of the object, px of the scene, at eta {focus:g}:", SIZE_HEADER]
        lines += [size_line(bucket) for bucket in buckets]
    return "\n".join(lines)
