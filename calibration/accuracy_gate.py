"""The accuracy gate: a reduced variant against fp32 on the same pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import MANIFEST, Bundle, open_bundle
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ExportError, OutputError
from sacvit_deploy.evaluation.curve import candidate_etas
from sacvit_deploy.evaluation.data import Float, Pictures, counted
from sacvit_deploy.evaluation.metrics import Share, goes_on, right, share
from sacvit_deploy.evaluation.outputs import Outputs, collect


@dataclass(frozen=True)
class VariantReport:
    """One variant on the judged pictures.

    ee, sac, cascade: right answers of stage 1 alone, of stage 2 alone and of both at `eta`; None without labels.
    exits: share that exits at `eta`. agree_*: share with fp32's answer. flips: share that the gate sends another way
    than fp32's at fp32's eta. overlap: share of fp32's targets that were selected, too. drop: largest loss of the three
    accuracies against fp32, in points. unanswered: pictures that got NaN or infinity where fp32 has an answer.
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
        """The manifest's form."""
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


def judge(
    precision: str, found: Outputs, reference: Outputs, alpha: float, reference_eta: float, *, labelled: bool
) -> VariantReport:
    """Compare a variant with fp32, both at the alpha and on the pictures that fp32 could answer.

    Where the variant has no answer, it is wrong and disagrees. Its eta is chosen anew, so that as many pictures exit as
    with fp32 at `reference_eta`: probabilities shift with precision, and the exit rate is what the shift moves. Raises
    OutputError if it answers none.
    """
    here, there = _common(found, reference)
    if not here.size:
        raise OutputError(f"{precision} gives no finite answer on any picture that fp32 can answer")
    count = len(reference.rows)
    confidence, own = reference.ee.probability[there], found.ee.probability[here]
    exits = int((~goes_on(confidence, reference_eta)).sum())
    eta = reference_eta if found is reference else matching_eta(own, exits, reference_eta)
    theirs = _answers(reference, alpha, reference_eta, np.arange(count))
    ours = _answers(found, alpha, eta, here)
    scores: list[Share | None] = [None, None, None]
    drop = None
    if labelled:
        scores = [Share(int(right(answer, reference.labels[there]).sum()), count) for answer in ours]
        before = [share(right(answer, reference.labels)) for answer in theirs]
        # From counts: a difference of two shares may be just above a limit that it meets.
        lost = [was.right - now.right for was, now in zip(before, scores, strict=True) if now is not None]
        drop = 100 * max(lost) / count
    agreement = [int((mine == other[there]).sum()) / count for mine, other in zip(ours, theirs, strict=True)]
    targets = zip(found.targets[alpha][here], reference.targets[alpha][there], strict=True)
    return VariantReport(
        precision=precision,
        eta=eta,
        ee=scores[0],
        sac=scores[1],
        cascade=scores[2],
        exits=float((~goes_on(own, eta)).mean()),
        agree_ee=agreement[0],
        agree_sac=agreement[1],
        agree_cascade=agreement[2],
        flips=float((goes_on(own, reference_eta) != goes_on(confidence, reference_eta)).mean()),
        overlap=float(np.mean([np.isin(mine, other).mean() for mine, other in targets])),
        drop=drop,
        unanswered=count - len(here),
    )


def matching_eta(confidence: Float, exits: int, near: float) -> float:
    """The eta at which just about `exits` of the [n] pictures exit, n >= 1; of several, the nearest to `near`.

    Where all exit, or nobody does, that is no reason for an eta of 0 or 1, which would do so with any picture to come.
    """
    ends = [np.floor(1000 * confidence.min() - 1e-6) / 1000, np.ceil(1000 * confidence.max()) / 1000]
    etas: list[float] = [near, *np.clip(ends, 0, 1).tolist(), *candidate_etas(confidence, steps=len(confidence))]
    off = [abs(int((~goes_on(confidence, eta)).sum()) - exits) for eta in etas]
    if 1000 * off[0] <= len(confidence):
        return near  # a picture in a thousand is no reason for 0.5999
    return etas[min(range(len(etas)), key=lambda at: (off[at], abs(etas[at] - near), -etas[at]))]


def _answers(outputs: Outputs, alpha: float, eta: float, rows: Index) -> tuple[Index, Index, Index]:
    ee, sac = outputs.ee.answer[rows], outputs.sac[alpha].answer[rows]
    cascade: Index = np.where(goes_on(outputs.ee.probability[rows], eta), sac, ee)
    return ee, sac, cascade


def _common(found: Outputs, reference: Outputs) -> tuple[Index, Index]:
    """Places in both of the pictures that both answered."""
    _, here, there = np.intersect1d(found.rows, reference.rows, assume_unique=True, return_indices=True)
    return here, there


HEADER = (
    "              EE only          SAC only         at eta                     exits    same answer as fp32   "
    "gate    targets\n"
    "              top-1 %          top-1 %          top-1 %          (eta)              EE     SAC    at eta  "
    "flips   in common"
)


def line(found: VariantReport, reference: VariantReport) -> str:
    """One variant for people; differences from fp32 in points beside its accuracies."""

    def accuracy(name: str) -> str:
        own, base = getattr(found, name), getattr(reference, name)
        if own is None:
            return f"{'no labels':<17}"
        change = "" if found is reference else f" ({100 * (own.value - base.value):+.2f})"
        return f"{100 * own.value:.2f}{change}".ljust(17)

    scores = "".join(accuracy(name) for name in ("ee", "sac", "cascade"))
    start = f"  {found.precision:<12}{scores}{f'({found.eta:.4g})':<9}{found.exits:>7.1%}"
    if found is reference:
        return start
    same = "".join(f"{value:>8.2%}" for value in (found.agree_ee, found.agree_sac, found.agree_cascade))
    return f"{start}  {same}   {found.flips:>6.2%}   {found.overlap:>7.2%}"


def table(reports: list[VariantReport], judged_on: str) -> str:
    """The whole table; fp32 comes first."""
    reference = reports[0]
    lines = [f"judged on {judged_on}", HEADER, *(line(found, reference) for found in reports)]
    lines += [
        f"  {found.precision}: largest loss {max(0.0, found.drop):.2f} points"
        for found in reports[1:]
        if found.drop is not None
    ]
    lines += [
        f"  {found.precision}: no finite answer on {counted(found.unanswered, 'picture')}, as good as wrong ones"
        for found in reports[1:]
        if found.unanswered
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class EvalSet:
    """Pictures to judge on, and how they are called in the table. labelled pictures give accuracies."""

    pictures: Pictures
    name: str


class AccuracyGate:
    """Judges a bundle's variants against fp32, running each file over the eval_set's pictures once."""

    def __init__(self, bundle: Bundle, eval_set: EvalSet, backend: OnnxRuntimeBackend) -> None:
        self.bundle, self.eval_set, self.backend = bundle, eval_set, backend
        self.alpha = bundle.manifest.config.method.alpha
        self.eta = bundle.manifest.eta
        self._heard: dict[str, tuple[Variant, Outputs]] = {}

    def outputs(self, precision: str, variant: Variant, say: Progress) -> Outputs:
        """What a variant, whose files lie in the bundle's folder, says of every picture."""
        known = self._heard.get(precision)
        if known is not None and known[0].files == variant.files:
            return known[1]
        files = {role: self.bundle.path / entry.path for role, entry in variant.files.items()}
        with say.step(f"{precision} on {len(self.eval_set.pictures):,} {self.eval_set.name}"):
            cascade = Cascade(self.backend, files, self.bundle.manifest.config)
            found = collect(cascade, self.eval_set.pictures, [self.alpha])
        if precision == "fp32":
            for what, errors in (("can't be read", found.unreadable), ("get no finite answer", found.overflowed)):
                if errors:
                    share = f"{len(errors)} of the {len(self.eval_set.pictures):,} {self.eval_set.pictures.kind}"
                    say.note(f"note: {share} to judge on {what}, such as: {errors[0]}")
        self._heard[precision] = variant, found
        return found

    def hear(self, precision: str, variant: Variant, say: Progress) -> VariantReport:
        """Judge one variant."""
        reference = self.outputs("fp32", self.bundle.manifest.variants["fp32"], say)
        found = self.outputs(precision, variant, say)
        return judge(precision, found, reference, self.alpha, self.eta, labelled=self.eval_set.pictures.labelled)


def judge_all(gate: AccuracyGate, max_drop: float | None, say: Progress, show: Callable[[str], object]) -> None:
    """Judge every reduced variant of the gate's bundle; write report and eta into its manifest.

    Raises ExportError naming the variants that lose more than `max_drop` points.
    """
    eval_set = gate.eval_set
    bundle = open_bundle(gate.bundle.path)  # with what was calibrated since
    reports = [gate.hear(name, variant, say) for name, variant in _fp32_first(bundle)]
    count = len(gate.outputs("fp32", bundle.manifest.variants["fp32"], say).rows)
    judged_on = f"{count:,} {eval_set.name}"
    show(table(reports, judged_on))
    changed = {}
    for report in reports[1:]:
        old = bundle.manifest.variants[report.precision]
        if old.eta not in (None, report.eta):
            say.note(f"{report.precision}: its default eta {old.eta:g} becomes {report.eta:g}")
        entry = {**old.report, "judged_on": judged_on, **report.to_dict()}
        changed[report.precision] = dataclasses.replace(old, eta=report.eta, report=entry)
    save(bundle, changed)
    worse = [v for v in reports[1:] if max_drop is not None and v.drop is not None and v.drop > max_drop]
    if worse:
        named = ", ".join(f"{report.precision} loses {report.drop:.2f} points" for report in worse)
        raise ExportError(f"{named}, more than the {max_drop:g} of --max-drop; nothing was written")


def _fp32_first(bundle: Bundle) -> list[tuple[str, Variant]]:
    return sorted(bundle.manifest.variants.items(), key=lambda item: item[0] != "fp32")


def save(bundle: Bundle, changed: dict[str, Variant]) -> None:
    """Rewrite the manifest of a bundle folder that nobody else reads yet."""
    variants = {**bundle.manifest.variants, **changed}
    manifest = dataclasses.replace(bundle.manifest, variants=variants)
    (bundle.path / MANIFEST).write_bytes(manifest.to_bytes())
