"""Compares a reduced variant's answers with fp32's on the same images, and formats the comparison as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import OutputError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.metrics import Share, continues
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.evaluation.sweep import candidate_etas


@dataclass(frozen=True)
class VariantReport:
    """Accuracy of one variant, and its agreement with fp32, on the evaluation images.

    top1, agreement: right answers, and share of answers that are fp32's, of stage 1 alone (`ee`), of stage 2 alone
    (`sac`) and of both at `eta` (`cascade`); top1 is empty without labels. exits: share that exits at `eta`.
    gate_flips: share that goes the other way than with fp32, both at fp32's eta. target_overlap: share of fp32's
    targets that are selected, too. drop: largest loss of the three accuracies against fp32, in points. unanswered:
    images that got NaN or infinity where fp32 has an answer.
    """

    precision: str
    eta: float
    top1: Mapping[str, Share]
    exits: float
    agreement: Mapping[str, float]
    gate_flips: float
    target_overlap: float
    drop: float | None
    unanswered: int

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest's form."""
        facts = {**vars(self), "top1": {name: share.to_dict() for name, share in self.top1.items()} or None}
        del facts["precision"]
        return facts


def compare_variant(
    precision: str, outputs: EvalOutputs, reference: EvalOutputs, alpha: float, reference_eta: float, *, labelled: bool
) -> VariantReport:
    """Compare a variant with fp32 (`reference`) at an alpha, on the images that fp32 could answer.

    An image that the variant could not answer counts as wrong and as disagreeing. The variant's eta is chosen so that
    as many images exit as with fp32 at `reference_eta`: probabilities shift with precision, and with them the exit
    rate. Raises OutputError if the variant answers none of the images.
    """
    _, own_rows, reference_rows = np.intersect1d(outputs.rows, reference.rows, assume_unique=True, return_indices=True)
    if not own_rows.size:
        raise OutputError(f"{precision} gives no finite answer on any image that fp32 can answer")
    count = len(reference.rows)
    own, base = outputs.ee.probability[own_rows], reference.ee.probability[reference_rows]
    exits = int((~continues(base, reference_eta)).sum())
    eta = reference_eta if outputs is reference else matching_eta(own, exits, reference_eta)
    answers, expected = _answers(outputs, alpha, eta), _answers(reference, alpha, reference_eta)
    agreeing = {name: answers[name][own_rows] == expected[name][reference_rows] for name in answers}
    top1, drop = {}, None
    if labelled:
        top1 = {name: Share(int((answers[name] == outputs.labels)[own_rows].sum()), count) for name in answers}
        # From counts: a difference of two shares may, by rounding, be just above a limit that it meets.
        lost = [int((expected[name] == reference.labels).sum()) - top1[name].right for name in top1]
        drop = 100 * max(lost) / count
    targets = zip(outputs.targets[alpha][own_rows], reference.targets[alpha][reference_rows], strict=True)
    return VariantReport(
        precision=precision,
        eta=eta,
        top1=top1,
        exits=float((~continues(own, eta)).mean()),
        agreement={name: int(same.sum()) / count for name, same in agreeing.items()},
        gate_flips=float((continues(own, reference_eta) != continues(base, reference_eta)).mean()),
        target_overlap=float(np.mean([np.isin(selected, base_selected).mean() for selected, base_selected in targets])),
        drop=drop,
        unanswered=count - len(own_rows),
    )


def matching_eta(confidence: Float, exits: int, near: float) -> float:
    """Choose the eta at which the number of images that exit is closest to `exits`; of several, the nearest to `near`.

    confidence: [n] stage 1's highest probabilities, n >= 1. Where all images exit, or none, the eta stays beside their
    probabilities: 0 or 1 would send every later image the same way, too.
    """
    ends = [np.floor(1000 * confidence.min() - 1e-6) / 1000, np.ceil(1000 * confidence.max()) / 1000]
    etas: list[float] = [near, *np.clip(ends, 0, 1).tolist(), *candidate_etas(confidence, steps=len(confidence))]
    off = [abs(int((~continues(confidence, eta)).sum()) - exits) for eta in etas]
    if 1000 * off[0] <= len(confidence):
        return near  # one image in a thousand does not justify an eta such as 0.5999
    return etas[min(range(len(etas)), key=lambda number: (off[number], abs(etas[number] - near), -etas[number]))]


def _answers(outputs: EvalOutputs, alpha: float, eta: float) -> dict[str, Index]:
    """Return the answers [n] of stage 1, of stage 2 and of the cascade."""
    ee, sac = outputs.ee.answer, outputs.sac[alpha].answer
    return {"ee": ee, "sac": sac, "cascade": np.where(continues(outputs.ee.probability, eta), sac, ee)}


HEADER = (
    "              EE only          SAC only         at eta                     exits    same answer as fp32   "
    "gate    targets\n"
    "              top-1 %          top-1 %          top-1 %          (eta)              EE     SAC    at eta  "
    "flips   in common"
)


def variant_table(reports: list[VariantReport], judged_on: str) -> str:
    """Format all variants, fp32 first, with their losses and unanswered images below."""
    reference, *others = reports
    lines = [f"judged on {judged_on}", HEADER, *(_line(report, reference) for report in reports)]
    lines += [
        f"  {report.precision}: largest loss {max(0.0, report.drop):.2f} points"
        for report in others
        if report.drop is not None
    ]
    lines += [
        f"  {report.precision}: no finite answer on {counted(report.unanswered, 'image')}, counted as wrong"
        for report in others
        if report.unanswered
    ]
    return "\n".join(lines)


def _line(report: VariantReport, reference: VariantReport) -> str:
    """Format one variant; beside its accuracies stand the differences from fp32, in points."""

    def accuracy(name: str) -> str:
        if name not in report.top1:
            return f"{'no labels':<17}"
        own, base = report.top1[name], reference.top1[name]
        change = "" if report is reference else f" ({100 * (own.value - base.value):+.2f})"
        return f"{100 * own.value:.2f}{change}".ljust(17)

    scores = "".join(accuracy(name) for name in ("ee", "sac", "cascade"))
    start = f"  {report.precision:<12}{scores}{f'({report.eta:.4g})':<9}{report.exits:>7.1%}"
    if report is reference:
        return start
    agreement = "".join(f"{value:>8.2%}" for value in report.agreement.values())
    return f"{start}  {agreement}   {report.gate_flips:>6.2%}   {report.target_overlap:>7.2%}"
