"""A calibration job: adds an int8 variant to a bundle, and compares every reduced variant with fp32."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sacvit_deploy.bundle.bundle import MANIFEST, check_file, open_bundle
from sacvit_deploy.console.terminal import say
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.evaluation.labelled_images import spread_rows
from sacvit_deploy.evaluation.open_images import open_images
from sacvit_deploy.files import PARTIAL
from sacvit_deploy.glue import check_eta
from sacvit_deploy.locks import LOCK
from sacvit_deploy.model import SACViT

if TYPE_CHECKING:
    from sacvit_deploy.calibration.ranges import Range  # not at run time: --help needs no onnx

CALIBRATION_IMAGES = 256  # more change the ranges little
EVAL_IMAGES = 5000  # of the same folder: a 95 % interval of 1.4 points at most


@dataclass(frozen=True)
class CalibrationJob:
    """Images and settings of a calibration; None stands for the bundle's own value, and for `calib` in `judge`."""

    calib: Path
    int8: bool
    judge: Path | None = None
    max_drop: float | None = None
    images: int = CALIBRATION_IMAGES
    ranges: Range = "percentile"
    smoothing: float = 0.5
    eta: float | None = None
    alphas: Sequence[float] | None = None
    threads: int = 1


def copy_bundle(source: Path, folder: Path) -> None:
    """Copy a bundle's folder into another, without its int8 variant; only undamaged ranges of that are copied.

    Hard links are no alternative: the onnx library refuses to read such weights. Raises BundleError for a damaged file.
    """
    opened = open_bundle(source)
    old = opened.manifest.variants.get("int8")
    others = [variant for variant in opened.manifest.variants.values() if variant is not old]
    shared = {entry.path for variant in others for entry in variant.files.values()}
    replaced = set() if old is None else {entry.path for entry in old.files.values()} - shared
    shutil.copyfile(source / MANIFEST, folder / MANIFEST)
    for entry in opened.entries():
        if entry.path in replaced:
            continue
        check_file(source, entry)
        shutil.copyfile(source / entry.path, folder / entry.path)
    skip = shutil.ignore_patterns(LOCK, f".*{PARTIAL}*")
    listed = {MANIFEST, *(entry.path for entry in opened.entries())}
    for path in source.iterdir():
        if path.name in listed or path.name in skip(str(source), [path.name]):
            continue
        if path.is_dir():  # plans, and the user's own
            shutil.copytree(path, folder / path.name, ignore=skip)
        else:
            shutil.copyfile(path, folder / path.name)
    if old is not None and "ranges" in old.files:
        with contextlib.suppress(BundleError):
            check_file(source, old.files["ranges"])
            shutil.copyfile(source / old.files["ranges"].path, folder / old.files["ranges"].path)


def reduce_bundle(folder: Path, job: CalibrationJob) -> None:
    """Calibrate int8, if the job asks for it, and judge the reduced variants of a bundle that nobody else reads yet."""
    from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
    from sacvit_deploy.calibration.accuracy_gate import AccuracyGate, judge_all
    from sacvit_deploy.calibration.int8 import BUDGET, CalibrationSettings, calibrate
    from sacvit_deploy.console.progress import Progress

    progress = Progress()
    model = SACViT(folder, precision="fp32", threads=job.threads)
    manifest = model.bundle.manifest
    by_folder = {folder: open_images(model, folder) for folder in (job.calib, job.judge) if folder is not None}
    for note in (note for opened in by_folder.values() for note in opened.notes):
        progress.note(f"note: {note}")
    images = by_folder[job.calib]
    judged = images.pick(spread_rows(images.labels, EVAL_IMAGES)) if job.judge is None else by_folder[job.judge]
    name = f"{judged.kind} from {(job.judge or job.calib).resolve().name}/"
    if job.int8 and job.judge is None:
        name += ", the calibration's among them"
    if not judged.labelled:
        if job.max_drop is not None:
            why = "".join(f": {note}" for note in judged.notes)
            raise UsageError(f"--max-drop needs labelled images to judge on, and {name} have no labels{why}")
        progress.note(f"note: {name} have no labels; agreement with fp32 is reported, not accuracy")
    gate = AccuracyGate(model.bundle, judged, name, OnnxRuntimeBackend("cpu", job.threads))
    if job.int8:
        settings = CalibrationSettings(
            ranges=job.ranges,
            smoothing=job.smoothing,
            alphas=tuple(job.alphas or (manifest.config.method.alpha,)),
            eta=check_eta(manifest.eta if job.eta is None else job.eta),
        )
        # Of a few images one or two are lost by chance, which must not keep half the layers in fp32.
        budget = max(BUDGET, 200 / len(judged)) if job.max_drop is None else job.max_drop
        calibrate(images.pick(spread_rows(images.labels, job.images)), settings, gate, budget, progress)
    judge_all(gate, job.max_drop, progress, say)
