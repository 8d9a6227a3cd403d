"""Compares a reduced variant's answers with fp32's on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.errors import OutputError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.metrics import Share, continues, share
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.evaluation.sweep import candidate_etas


@dataclass(frozen=True)
class VariantReport:
    """Accuracy of one variant, and its agreement with fp32, on the evaluation images.

    ee, sac, cascade: right answers of stage 1 alone, of stage 2 alone and of both at `eta`; None without labels.
    exits: share that exits at `eta`. agree_*: share with fp32's answer. flips: share that goes the other way than with
    fp32, both at fp32's eta. overlap: share of fp32's targets that are selected, too. drop: largest loss of the three
    accuracies against fp32, in points. unanswered: images that got NaN or infinity where fp32 has an answer.
    """

    precision: str
    eta: float
    ee: Share | None
    sac: Share | None
    cascade: Share | None
    exits: float
    agree_ee: float = 1.0
    agree_sac: float = 1.0
    agree_cascade: float = 1.0
    flips: float = 0.0
    overlap: float = 1.0
    drop: float | None = None
    unanswered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest's form."""
        shares = {name: value.to_dict() for name in ("ee", "sac", "cascade") if (value := getattr(self, name))}
        agreement = {"ee": self.agree_ee, "sac": self.agree_sac, "cascade": self.agree_cascade}
        return {
            "eta": self.eta,
            "top1": shares or None,
            "exits": self.exits,
            "agreement": agreement,
            "gate_flips": self.flips,
            "target_overlap": self.overlap,
            "drop": self.drop,
            "unanswered": self.unanswered,
        }


def compare_variant(
    precision: str, outputs: EvalOutputs, reference: EvalOutputs, alpha: float, reference_eta: float, *, labelled: bool
) -> VariantReport:
    """Compare a variant with fp32 (`reference`) at an alpha, on the images that fp32 could answer.

    An image that the variant could not answer counts as wrong and as disagreeing. The variant's eta is chosen so that
    as many images exit as with fp32 at `reference_eta`: probabilities shift with precision, and with them the exit
    rate. Raises OutputError if the variant answers none of the images.
    """
    own_rows, reference_rows = _common(outputs, reference)
    if not own_rows.size:
        raise OutputError(f"{precision} gives no finite answer on any image that fp32 can answer")
    count = len(reference.rows)
    own, base = outputs.ee.probability[own_rows], reference.ee.probability[reference_rows]
    exits = int((~continues(base, reference_eta)).sum())
    eta = reference_eta if outputs is reference else matching_eta(own, exits, reference_eta)
    reference_answers = _answers(reference, alpha, reference_eta, np.arange(count))
    own_answers = _answers(outputs, alpha, eta, own_rows)
    scores: list[Share | None] = [None, None, None]
    drop = None
    if labelled:
        labels = reference.labels[reference_rows]
        scores = [Share(int((answer == labels).sum()), count) for answer in own_answers]
        before = [share(answer == reference.labels) for answer in reference_answers]
        # From counts: a difference of two shares may, by rounding, be just above a limit that it meets.
        lost = [was.right - now.right for was, now in zip(before, scores, strict=True) if now is not None]
        drop = 100 * max(lost) / count
    agreement = [
        int((answer == base_answer[reference_rows]).sum()) / count
        for answer, base_answer in zip(own_answers, reference_answers, strict=True)
    ]
    targets = zip(outputs.targets[alpha][own_rows], reference.targets[alpha][reference_rows], strict=True)
    return VariantReport(
        precision=precision,
        eta=eta,
        ee=scores[0],
        sac=scores[1],
        cascade=scores[2],
        exits=float((~continues(own, eta)).mean()),
        agree_ee=agreement[0],
        agree_sac=agreement[1],
        agree_cascade=agreement[2],
        flips=float((continues(own, reference_eta) != continues(base, reference_eta)).mean()),
        overlap=float(np.mean([np.isin(selected, base_selected).mean() for selected, base_selected in targets])),
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


def _answers(outputs: EvalOutputs, alpha: float, eta: float, rows: Index) -> tuple[Index, Index, Index]:
    """Return the answers of stage 1, of stage 2 and of the cascade to some of the images."""
    ee, sac = outputs.ee.answer[rows], outputs.sac[alpha].answer[rows]
    cascade: Index = np.where(continues(outputs.ee.probability[rows], eta), sac, ee)
    return ee, sac, cascade


def _common(outputs: EvalOutputs, reference: EvalOutputs) -> tuple[Index, Index]:
    """Return the indices, in both, of the images answered in both."""
    _, own, base = np.intersect1d(outputs.rows, reference.rows, assume_unique=True, return_indices=True)
    return own, base
