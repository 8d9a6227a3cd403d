"""From a bundle with fp32 to one whose reduced variants are calibrated, judged and told in the manifest."""

from __future__ import annotations

import dataclasses

from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.accuracy_gate import AccuracyGate, save
from sacvit_deploy.calibration.calibration_inputs import gather
from sacvit_deploy.calibration.int8 import (
    PRECISION,
    Settings,
    cache_key,
    describe,
    ranged_or_cached,
    ranked,
    read_models,
    write_int8,
)
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import GLUE
from sacvit_deploy.errors import ExportError
from sacvit_deploy.evaluation.data import Pictures, counted
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import Parity

BUDGET = 0.5  # points a variant may lose before layers are kept in fp32, where no --max-drop says otherwise


def calibrate(pictures: Pictures, settings: Settings, gate: AccuracyGate, budget: float, say: Progress) -> None:
    """Write an int8 variant into the gate's bundle folder, which nobody else reads yet.

    The layers that do most damage stay in fp32, more and more of them, until the golden vectors' answers are met and,
    where the eval_set's pictures are labelled, no accuracy falls by more than `budget` points. Raises OutputError,
    ImageError, and ExportError where half the layers are not enough.
    """
    bundle, threads = gate.bundle, gate.backend.threads
    folder, files = bundle.path, bundle.checked_files("fp32")
    fp32 = Cascade(gate.backend, files, bundle.manifest.config)
    with say.bar(f"{len(pictures):,} calibration pictures through the fp32 cascade", len(pictures)) as advance:
        calibration = gather(fp32, pictures, eta=settings.eta, alphas=settings.alphas, advance=advance)
    for note in calibration.notes:
        say.note(f"note: {note}")
    models = read_models(files)
    key = cache_key(files, calibration, settings)
    found = ranged_or_cached(folder, models, key, calibration, settings, threads, say)
    golden = load_golden(folder / bundle.manifest.golden.path)
    order = [layer for layer, _ in ranked(found.damage)]
    keep: list[str] = []

    def write() -> tuple[Variant, Parity]:
        with say.step(f"int8 engines, {f'{len(keep)} of {len(order)} layers kept in fp32' if keep else 'all layers'}"):
            variant, parity = write_int8(folder, models, found, keep, golden, fp32)
        continued = sum(request.size for request in calibration.requests) // len(settings.alphas)
        facts = describe(found, keep, settings, len(calibration.images), continued)
        # Its engines take and give the same types as fp32's, so the glue for devices is the same.
        shared = {role: entry for role, entry in bundle.variant("fp32").files.items() if role in GLUE}
        return dataclasses.replace(variant, files={**variant.files, **shared}, report={"calibration": facts}), parity

    while True:
        variant, parity = write()
        if not parity.passed:
            trouble = f"int8 is too far from the reference, {parity.summary()}"
        elif (drop := gate.hear(PRECISION, variant, say).drop) is not None and drop > budget:
            trouble = f"int8 loses {drop:.2f} points"
        else:
            break
        most = len(order) // 2  # beyond, it would be fp32 by another name
        if len(keep) >= most:
            raise ExportError(
                f"{trouble} even with {len(keep)} of {len(order)} layers in fp32; calibrate with more pictures, or "
                "allow a larger --max-drop"
            )
        keep = order[: min(max(1, 2 * len(keep)), most)]
        say.note(f"{trouble}; keeping {counted(len(keep), 'layer')} in fp32, the worst first")
    save(bundle, {PRECISION: variant})
