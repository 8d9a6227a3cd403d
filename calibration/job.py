"""A calibration job: from a bundle to one with judged reduced variants."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sacvit_deploy.bundle.bundle import MANIFEST, check_file, open_bundle
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.evaluation.data import spread
from sacvit_deploy.evaluation.datasets import open_pictures
from sacvit_deploy.glue import check_eta
from sacvit_deploy.model import SACViT

if TYPE_CHECKING:
    from sacvit_deploy.calibration.ranges import Range  # not at run time: --help needs no onnx

SOME = 256  # calibration pictures; more change ranges little
MOST = 5000  # of them to judge on: an interval of 1.4 points at most


@dataclass(frozen=True)
class CalibrationJob:
    """What to calibrate and judge with; None takes the bundle's own value, or `calib` for `judge`."""

    calib: Path
    int8: bool
    judge: Path | None = None
    max_drop: float | None = None
    pictures: int = SOME
    ranges: Range = "percentile"
    smoothing: float = 0.5
    eta: float | None = None
    alphas: Sequence[float] | None = None
    threads: int = 1


def copy_bundle(source: Path, folder: Path) -> None:
    """Copy a bundle's folder into another, but for the files of its int8 variant, of which only sound ranges go on.

    No hard links: the onnx library refuses to read such weights. Raises BundleError for a damaged file.
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
    listed = {MANIFEST, *(entry.path for entry in opened.entries())}
    for path in source.iterdir():
        if path.name not in listed:  # the user's own
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, folder / path.name)
    if old is not None and "ranges" in old.files:
        with contextlib.suppress(BundleError):
            check_file(source, old.files["ranges"])
            shutil.copyfile(source / old.files["ranges"].path, folder / old.files["ranges"].path)


def reduce_bundle(folder: Path, plan: CalibrationJob) -> None:
    """Calibrate (where the plan says int8) and judge the bundle in a folder that nobody else reads yet."""
    from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
    from sacvit_deploy.calibration.accuracy_gate import AccuracyGate, EvalSet, judge_all
    from sacvit_deploy.calibration.int8 import Settings
    from sacvit_deploy.calibration.search import BUDGET, calibrate
    from sacvit_deploy.console.progress import Progress

    say = Progress()
    model = SACViT(folder, precision="fp32", threads=plan.threads)
    manifest = model.bundle.manifest
    found = open_pictures(model, plan.calib)
    for note in found.notes:
        say.note(f"note: {note}")
    chosen = found.pick(spread(found.labels, plan.pictures))
    if plan.judge == plan.calib and not plan.int8:
        eval_set = EvalSet(found, f"{found.kind} from {plan.calib.resolve().name}/")
    elif plan.judge is not None:
        others = open_pictures(model, plan.judge)
        for note in others.notes:
            say.note(f"note: {note}")
        eval_set = EvalSet(others, f"{others.kind} from {plan.judge.resolve().name}/")
    else:
        judged = found.pick(spread(found.labels, MOST))
        among = ", the calibration's among them" if plan.int8 else ""
        eval_set = EvalSet(judged, f"{found.kind} from {plan.calib.resolve().name}/{among}")
    if not eval_set.pictures.labelled:
        if plan.max_drop is not None:
            raise UsageError(f"--max-drop needs labelled pictures to judge on, and {eval_set.name} have no labels")
        say.note(f"note: {eval_set.name} have no labels; agreement with fp32 is reported, not accuracy")
    gate = AccuracyGate(model.bundle, eval_set, OnnxRuntimeBackend("cpu", plan.threads))
    if plan.int8:
        settings = Settings(
            eta=check_eta(manifest.eta if plan.eta is None else plan.eta),
            alphas=tuple(plan.alphas or (manifest.config.method.alpha,)),
            ranges=plan.ranges,
            smoothing=plan.smoothing,
        )
        # One or two of a few pictures are lost by chance, and must not cost half the layers.
        budget = max(BUDGET, 200 / len(eval_set.pictures)) if plan.max_drop is None else plan.max_drop
        calibrate(chosen, settings, gate, budget, say)
    judge_all(gate, plan.max_drop, say, click.echo)
