"""`sacvit calibrate`: an int8 variant for an existing bundle, and the judgement of every reduced one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sacvit_deploy import SACViT
from sacvit_deploy.backends import usable_cores
from sacvit_deploy.bundle.bundle import MANIFEST, check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.calibration.damage_plot import draw_damage
from sacvit_deploy.calibration.data import Pictures, open_folder, open_unlabelled, spread
from sacvit_deploy.calibration.options import numbers, prepared
from sacvit_deploy.calibration.plot import load_matplotlib
from sacvit_deploy.calibration.scenes import FINISHED, open_scenes
from sacvit_deploy.commands.common import finite
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.glue import check_eta

if TYPE_CHECKING:
    from sacvit_deploy.calibration.ranges import Range  # not at run time: --help needs no onnx

SOME = 256  # calibration pictures; more change ranges little
MOST = 5000  # of them to judge on: an interval of 1.4 points at most


@dataclass(frozen=True)
class Plan:
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


@click.command("calibrate")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--calib", required=True, type=click.Path(path_type=Path), help="Pictures like those to come: a folder, "
              "with class folders or without, or rendered scenes.")
@click.option("--pictures", type=click.IntRange(min=1), default=SOME, show_default=True, help="How many to take.")
@click.option("--judge", type=click.Path(path_type=Path), help="Pictures to judge on, better others than --calib's.  "
              f"[default: --calib's, up to {MOST:,}]")
@click.option("--max-drop", type=click.FloatRange(min=0), callback=finite, help="Fail if a variant loses more points "
              "of top-1.  [default: int8 may lose 0.5, others any]")
@click.option("--ranges", type=click.Choice(["minmax", "percentile", "entropy"]), default="percentile",
              show_default=True, help="How a range is drawn from what was seen.")
@click.option("--smoothing", type=click.FloatRange(0, 1), callback=finite, default=0.5, show_default=True,
              help="SmoothQuant's strength; 0 is none.")
@click.option("--eta", type=float, help="Who continues while calibrating.  [default: the bundle's]")
@click.option("--alphas", callback=numbers, help="Like 0.4,0.5.  [default: the bundle's]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: one a core]")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw every layer's damage into this PNG.")
def command(
    bundle: Path | None,
    calib: Path,
    pictures: int,
    judge: Path | None,
    max_drop: float | None,
    ranges: Range,
    smoothing: float,
    eta: float | None,
    alphas: tuple[float, ...] | None,
    threads: int | None,
    plot: Path | None,
) -> None:
    """Add an int8 variant to a BUNDLE, calibrated through its cascade, and judge every reduced variant against fp32.

    Stage 2 is calibrated with the pictures that really continue. The bundle is replaced when all is done, or stays as
    it was.
    """
    target = (bundle or find_bundle()).resolve()  # `.` has no name, and a link is not what should be replaced
    if plot is not None:
        load_matplotlib()  # or an error now, not after the work
    opened = open_bundle(target)
    if not os.access(target, os.W_OK):
        raise BundleError(f"can't change {target}: the folder is read-only")
    if "fp32" not in opened.manifest.variants:
        raise BundleError(f"{target} has no fp32 variant to calibrate from; export it again")
    plan = Plan(
        calib,
        int8=True,
        pictures=pictures,
        judge=judge,
        max_drop=max_drop,
        ranges=ranges,
        smoothing=smoothing,
        eta=eta,
        alphas=alphas,
        threads=threads or usable_cores(),
    )
    with whole_folder(target, replace=True) as folder:
        copy_bundle(target, folder)
        reduce_bundle(folder, plan)
    written = open_bundle(target)
    click.echo(f"wrote {target}: {', '.join(written.manifest.variants)}")
    if plot is not None:
        draw_damage(written, plot)
        click.echo(f"damage by layer: {plot}")


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


def reduce_bundle(folder: Path, plan: Plan) -> None:
    """Calibrate (where the plan says int8) and judge the bundle in a folder that nobody else reads yet."""
    from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend
    from sacvit_deploy.calibration.int8 import Settings
    from sacvit_deploy.calibration.reduce import BUDGET, Court, Jury, calibrate, judge_all
    from sacvit_deploy.export.progress import Progress

    say = Progress()
    model = SACViT(folder, precision="fp32", threads=plan.threads)
    manifest = model.bundle.manifest
    found = open_pictures(model, plan.calib)
    for note in found.notes:
        say.note(f"note: {note}")
    chosen = found.pick(spread(found.labels, plan.pictures))
    if plan.judge == plan.calib and not plan.int8:
        jury = Jury(found, f"{found.kind} from {plan.calib.resolve().name}/")
    elif plan.judge is not None:
        others = open_pictures(model, plan.judge)
        for note in others.notes:
            say.note(f"note: {note}")
        jury = Jury(others, f"{others.kind} from {plan.judge.resolve().name}/")
    else:
        judged = found.pick(spread(found.labels, MOST))
        among = ", the calibration's among them" if plan.int8 else ""
        jury = Jury(judged, f"{found.kind} from {plan.calib.resolve().name}/{among}")
    if not jury.pictures.labelled:
        if plan.max_drop is not None:
            raise UsageError(f"--max-drop needs labelled pictures to judge on, and {jury.name} have no labels")
        say.note(f"note: {jury.name} have no labels; agreement with fp32 is reported, not accuracy")
    court = Court(model.bundle, jury, OnnxRuntimeBackend("cpu", plan.threads))
    if plan.int8:
        settings = Settings(
            eta=check_eta(manifest.eta if plan.eta is None else plan.eta),
            alphas=tuple(plan.alphas or (manifest.config.method.alpha,)),
            ranges=plan.ranges,
            smoothing=plan.smoothing,
        )
        # One or two of a few pictures are lost by chance, and must not cost half the layers.
        budget = max(BUDGET, 200 / len(jury.pictures)) if plan.max_drop is None else plan.max_drop
        calibrate(chosen, settings, court, budget, say)
    judge_all(court, plan.max_drop, say, click.echo)


def open_pictures(model: SACViT, folder: Path) -> Pictures:
    """Rendered scenes, FOLDER/<class>/ where the folders are the bundle's classes, or any pictures, without labels."""
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    if any((folder / name / FINISHED).exists() for name in ("", "test")):
        return open_scenes(folder, geometry.classes, geometry.image_size, preprocessing)
    try:
        inside = {path.name for path in folder.iterdir() if path.is_dir()}
    except OSError as error:
        raise UsageError(f"can't read pictures from {folder}: {error.strerror}") from error
    if inside & set(model.labels):
        return open_folder(folder, model.labels, lambda path: prepared(model, path))
    return open_unlabelled(folder, lambda path: prepared(model, path))
