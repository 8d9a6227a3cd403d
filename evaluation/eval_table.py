"""The report of `sacvit eval`: one row for each eta (the paper's table 3), one for each size of object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import Costs
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.metrics import CascadeScore, Correctness, Share, continues, share
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.evaluation.scenes import size_buckets
from sacvit_deploy.model import SACViT


@dataclass(frozen=True)
class EvalRow(CascadeScore):
    """The cascade at one eta on this machine. time_ratio: times faster than the DeiT, None if that was not measured."""

    images_per_second: float
    time_ratio: float | None


@dataclass(frozen=True)
class SizeRow:
    """Images with objects of similar size: stage 1 alone, stage 2 alone, the cascade, and how many continued."""

    name: str
    ee: Share
    sac: Share
    cascade: Share
    continuing: int


@dataclass(frozen=True)
class EvalReport:
    """All numbers of `sacvit eval` at one alpha. focus: the eta of `by_size`, which is empty if sizes are unknown."""

    alpha: float
    costs: Costs
    ee: CascadeScore
    sac: CascadeScore
    milliseconds: dict[str, float]
    rows: Sequence[EvalRow]
    focus: float
    by_size: Sequence[SizeRow]


def eval_report(
    outputs: EvalOutputs, alpha: float, etas: Sequence[float], costs: Costs, focus: float, object_px: Float | None
) -> EvalReport:
    """Score and time the cascade at each eta. object_px: [n] sizes of the images answered. Raises UsageError."""
    graded = Correctness.of(outputs, alpha)
    return EvalReport(
        alpha=alpha,
        costs=costs,
        ee=graded.score(0.0, costs),
        sac=graded.score(1.0, costs),
        milliseconds=outputs.times.milliseconds(alpha),
        rows=[eval_row(outputs, graded, alpha, eta, costs) for eta in etas],
        focus=focus,
        by_size=[] if object_px is None else size_rows(graded, object_px, focus),
    )


def eval_row(outputs: EvalOutputs, graded: Correctness, alpha: float, eta: float, costs: Costs) -> EvalRow:
    """Score and time the cascade at an eta. Raises UsageError."""
    score, times = graded.score(eta, costs), outputs.times
    at = alpha, score.continue_fraction
    return EvalRow(**vars(score), images_per_second=times.images_per_second(*at), time_ratio=times.speedup(*at))


def size_rows(graded: Correctness, object_px: Float, eta: float) -> list[SizeRow]:
    """Score each size of object that occurs; object_px [n]."""
    go, cascade = continues(graded.confidence, eta), graded.cascade_right(eta)
    return [
        SizeRow(
            name,
            share(graded.ee_right[inside]),
            share(graded.sac_right[inside]),
            share(cascade[inside]),
            int(go[inside].sum()),
        )
        for name, inside in size_buckets(object_px).items()
    ]


def eval_table(report: EvalReport, model: SACViT) -> str:
    """Format the report as text."""
    default, tokens = model.eta, model.config.geometry.tokens
    targets, side = model.config.num_targets(report.alpha), model.config.method.region_size
    window = "" if model.config.window is None else f" of the {side} x {side} window"
    ms, ee, sac = report.milliseconds, report.ee, report.sac
    steps = f"EE {ms['ee']:.2f} + glue {ms['ee_glue']:.2f}, SAC {ms['sac']:.2f} + glue {ms['sac_glue']:.2f}"
    deit = f"; DeiT {ms['deit']:.2f}" if "deit" in ms else ""
    lines = [
        f"alpha {report.alpha:g}{window}: {targets} of {tokens} tokens are seen again at full resolution",
        "",
        f"  EE only    {ee.top1.percent_interval} % right at {ee.gmacs:.3f} GMACs per image",
        f"  SAC only   {sac.top1.percent_interval} % right at {sac.gmacs:.3f} GMACs (stage 1 comes first); "
        f"DeiT of this size: {report.costs.deit / 1e9:.3f} GMACs",
        f"  ms per image: {steps}{deit}",
        "",
        HEADER,
        *(eval_line(row, default) for row in report.rows),
    ]
    if any(row.eta == default for row in report.rows):
        lines.append("  > the bundle's default eta")
    if "deit" not in ms:
        lines.append(
            f"  - not measured: the bundle's {model.precision} variant has no `{BASELINE}` engine; export it again"
        )
    if report.by_size:
        lines += ["", f"By longer side of the object, px of the scene, at eta {report.focus:g}:", SIZE_HEADER]
        lines += [size_line(row) for row in report.by_size]
    return "\n".join(lines)


HEADER = (
    "    eta   top-1 % (95 %)      continue   right % among        GMACs   x fewer   images/s   x faster\n"
    "                                        exits  continuing             than DeiT            than DeiT"
)


def eval_line(row: EvalRow, default_eta: float) -> str:
    """Format one eta; the bundle's default is marked with an arrow."""
    mark = ">" if row.eta == default_eta else " "
    ratio = f"{row.time_ratio:.2f}x" if row.time_ratio is not None else "-"
    return (
        f"{mark} {row.eta:>6.4g}   {row.top1.percent_interval:<20}{row.continue_fraction:>7.1%}   "
        f"{row.exits.percent:>6}  {row.continuing.percent:>9}"
        f"   {row.gmacs:>8.3f}   {row.gmac_ratio:>6.2f}x   {row.images_per_second:>8.1f}   {ratio:>8}"
    )


SIZE_HEADER = "  object        scenes   EE only %           SAC only %          cascade %           continue"


def size_line(row: SizeRow) -> str:
    """Format one size of object."""
    count = row.cascade.count
    shares = "".join(f"{value.percent_interval:<20}" for value in (row.ee, row.sac, row.cascade))
    return f"  {row.name:<13}{count:>7,}   {shares}{row.continuing / count:>8.1%}"
