"""Searches for the layers that must stay in fp32, and writes the int8 variant."""

from __future__ import annotations

import dataclasses

from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.accuracy_gate import AccuracyGate, save_variants
from sacvit_deploy.calibration.calibration_inputs import collect_inputs
from sacvit_deploy.calibration.int8 import (
    PRECISION,
    CalibrationSettings,
    cache_key,
    cached_or_found,
    describe_calibration,
    ranked,
    read_models,
    write_int8,
)
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.text import counted
from sacvit_deploy.contract import GLUE
from sacvit_deploy.errors import ExportError
from sacvit_deploy.evaluation.labelled_images import LabelledImages
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import Parity

BUDGET = 0.5  # points of top-1 a variant may lose before layers are kept in fp32, unless --max-drop says otherwise


def calibrate(
    images: LabelledImages, settings: CalibrationSettings, gate: AccuracyGate, budget: float, progress: Progress
) -> None:
    """Write an int8 variant into the gate's bundle folder, which nobody else reads yet.

    The most sensitive layers stay in fp32, more and more of them, until the golden vectors' answers are met and, where
    the evaluation images have labels, no accuracy falls by more than `budget` points. Raises OutputError, ImageError,
    and ExportError where half of the layers in fp32 are not enough.
    """
    bundle, threads = gate.bundle, gate.backend.threads
    folder, files = bundle.path, bundle.checked_files("fp32")
    fp32 = Cascade(gate.backend, files, bundle.manifest.config)
    with progress.bar(f"{len(images):,} calibration images through the fp32 cascade", len(images)) as advance:
        inputs = collect_inputs(fp32, images, eta=settings.eta, alphas=settings.alphas, advance=advance)
    for note in inputs.notes:
        progress.note(f"note: {note}")
    models = read_models(files)
    key = cache_key(files, inputs, settings)
    result = cached_or_found(folder, models, key, inputs, settings, threads, progress)
    golden = load_golden(folder / bundle.manifest.golden.path)
    order = [layer for layer, _ in ranked(result.sensitivity)]
    keep: list[str] = []

    def write() -> tuple[Variant, Parity]:
        extent = f"{len(keep)} of {len(order)} layers kept in fp32" if keep else "all layers"
        with progress.step(f"int8 engines, {extent}"):
            variant, parity = write_int8(folder, models, result, keep, golden, fp32)
        continued = sum(request.size for request in inputs.requests) // len(settings.alphas)
        facts = describe_calibration(result, keep, settings, len(inputs.images), continued)
        # int8 engines have the same input and output types as fp32's, so the glue for devices serves both.
        shared = {role: entry for role, entry in bundle.variant("fp32").files.items() if role in GLUE}
        return dataclasses.replace(variant, files={**variant.files, **shared}, report={"calibration": facts}), parity

    while True:
        variant, parity = write()
        if not parity.passed:
            trouble = f"int8 is too far from the reference, {parity.summary()}"
        elif (drop := gate.report(PRECISION, variant, progress).drop) is not None and drop > budget:
            trouble = f"int8 loses {drop:.2f} points"
        else:
            break
        most = len(order) // 2  # with more it would hardly be an int8 variant
        if len(keep) >= most:
            raise ExportError(
                f"{trouble} even with {len(keep)} of {len(order)} layers in fp32; calibrate with more images, or "
                "allow a larger --max-drop"
            )
        keep = order[: min(max(1, 2 * len(keep)), most)]
        progress.note(f"{trouble}; keeping {counted(len(keep), 'layer')} in fp32, the most sensitive first")
    save_variants(bundle, {PRECISION: variant})
