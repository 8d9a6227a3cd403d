"""The accuracy gate: measures a bundle's variants against fp32, and refuses those that lose too much."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import MANIFEST, Bundle, open_bundle
from sacvit_deploy.bundle.defaults import notes_without
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.variant_report import VariantReport, compare_variant, variant_table
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ExportError
from sacvit_deploy.evaluation.labelled_images import LabelledImages
from sacvit_deploy.evaluation.outputs import EvalOutputs, collect


class AccuracyGate:
    """Compares a bundle's variants with fp32 on evaluation images; each file runs over the images once.

    name: of the images, for the table. Accuracies need their labels; agreement with fp32 does not.
    """

    def __init__(self, bundle: Bundle, images: LabelledImages, name: str, backend: OnnxRuntimeBackend) -> None:
        self.bundle, self.images, self.name, self.backend = bundle, images, name, backend
        self.alpha = bundle.manifest.config.method.alpha
        self.eta = bundle.manifest.eta
        self._outputs: dict[str, tuple[Variant, EvalOutputs]] = {}

    def outputs(self, precision: str, variant: Variant, progress: Progress) -> EvalOutputs:
        """Run a variant, whose files lie in the bundle's folder, on every image."""
        known = self._outputs.get(precision)
        if known is not None and known[0].files == variant.files:
            return known[1]
        images = self.images
        files = {role: self.bundle.path / entry.path for role, entry in variant.files.items()}
        with progress.step(f"{precision} on {len(images):,} {self.name}"):
            outputs = collect(Cascade(self.backend, files, self.bundle.manifest.config), images, [self.alpha])
        if precision == "fp32":
            for fault, errors in (("can't be read", outputs.unreadable), ("get no finite answer", outputs.overflowed)):
                if errors:
                    part = f"{len(errors)} of the {len(images):,} {images.kind}"
                    progress.note(f"note: {part} to judge on {fault}, such as: {errors[0]}")
        self._outputs[precision] = variant, outputs
        return outputs

    def report(self, precision: str, variant: Variant, progress: Progress) -> VariantReport:
        """Compare one variant with fp32."""
        reference = self.outputs("fp32", self.bundle.manifest.variants["fp32"], progress)
        outputs = self.outputs(precision, variant, progress)
        return compare_variant(precision, outputs, reference, self.alpha, self.eta, labelled=self.images.labelled)


def judge_all(gate: AccuracyGate, max_drop: float | None, progress: Progress, show: Callable[[str], object]) -> None:
    """Compare every reduced variant of the gate's bundle with fp32, and write reports and etas into its manifest.

    show: gets the table. Raises ExportError naming the variants that lose more than `max_drop` points.
    """
    bundle = open_bundle(gate.bundle.path)  # again: calibration has added to it
    variants = sorted(bundle.manifest.variants.items(), key=lambda item: item[0] != "fp32")
    reports = [gate.report(precision, variant, progress) for precision, variant in variants]
    count = len(gate.outputs("fp32", bundle.manifest.variants["fp32"], progress).rows)
    judged_on = f"{count:,} {gate.name}"
    show(variant_table(reports, judged_on))
    changed = {}
    for report in reports[1:]:
        old = bundle.manifest.variants[report.precision]
        if old.eta not in (None, report.eta):
            progress.note(f"{report.precision}: its default eta {old.eta:g} becomes {report.eta:g}")
        entry = {**old.report, "judged_on": judged_on, **report.to_dict()}
        changed[report.precision] = dataclasses.replace(old, eta=report.eta, report=entry)
    save_variants(bundle, changed)
    worse = [
        f"{report.precision} loses {report.drop:.2f} points"
        for report in reports[1:]
        if max_drop is not None and report.drop is not None and report.drop > max_drop
    ]
    if worse:
        raise ExportError(f"{', '.join(worse)}, more than the {max_drop:g} of --max-drop; nothing was written")


def save_variants(bundle: Bundle, changed: dict[str, Variant]) -> None:
    """Replace variants in the manifest of a bundle folder that nobody else reads yet."""
    variants = {**bundle.manifest.variants, **changed}
    before = bundle.manifest.variants
    moved = [name for name, variant in changed.items() if name in before and variant.eta != before[name].eta]
    provenance = dict(bundle.manifest.provenance)
    if "notes" in provenance:
        provenance["notes"] = notes_without(bundle.manifest, moved)
    manifest = dataclasses.replace(bundle.manifest, variants=variants, provenance=provenance)
    (bundle.path / MANIFEST).write_bytes(manifest.to_bytes())
