"""`sacvit calibrate`: adds an int8 variant to a bundle, and compares every reduced variant with fp32."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.write import recover, whole_folder
from sacvit_deploy.calibration.job import CALIBRATION_IMAGES, EVAL_IMAGES, CalibrationJob, copy_bundle, reduce_bundle
from sacvit_deploy.commands.common import bundle_argument, finite, numbers, threads_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.console.terminal import say
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BundleError


@click.command("calibrate", cls=StrictCommand)
@bundle_argument
@click.option(
    "--calib",
    required=True,
    type=click.Path(path_type=Path),
    help="Images like those at run time: a folder, with or without class folders, or rendered scenes.",
)
@click.option(
    "--pictures",
    "images",
    type=click.IntRange(min=1),
    default=CALIBRATION_IMAGES,
    show_default=True,
    help="How many images to calibrate with.",
)
@click.option(
    "--judge",
    type=click.Path(path_type=Path),
    help=f"Images to judge on, preferably others than --calib's.  [default: --calib's, up to {EVAL_IMAGES:,}]",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    callback=finite,
    help="Fail if a variant loses more points of top-1.  [default: int8 may lose 0.5, others any]",
)
@click.option(
    "--ranges",
    type=click.Choice(["minmax", "percentile", "entropy"]),
    default="percentile",
    show_default=True,
    help="How a range is derived from the values seen.",
)
@click.option(
    "--smoothing",
    type=click.FloatRange(0, 1),
    callback=finite,
    default=0.5,
    show_default=True,
    help="Strength of SmoothQuant; 0 turns it off.",
)
@click.option(
    "--eta", type=float, help="Calibrate stage 2 with the images that continue at this eta.  [default: the bundle's]"
)
@click.option("--alphas", callback=numbers, help="Such as 0.4,0.5.  [default: the bundle's]")
@threads_option
@click.option("--plot", type=click.Path(path_type=Path), help="Draw every layer's sensitivity to int8 into this PNG.")
def command(bundle: Path | None, threads: int | None, plot: Path | None, **settings: Any) -> None:
    """Add an int8 variant to a BUNDLE, calibrated through its cascade, and judge every reduced variant against fp32.

    Stage 2 is calibrated with the images that continue. The bundle is replaced once everything is done; until then, and
    after any error, it stays as it was. Other commands that would change it wait.
    """
    target = (bundle or find_bundle()).resolve()  # `.` has no name; a link must not be replaced itself
    if plot is not None:
        load_matplotlib()  # an error now, not after the work
    recover(target)
    opened = open_bundle(target)
    if not os.access(target, os.W_OK):
        raise BundleError(f"can't change {target}: the folder is read-only")
    if "fp32" not in opened.manifest.variants:
        raise BundleError(f"{target} has no fp32 variant to calibrate from; name the bundle that it was packed from")
    job = CalibrationJob(int8=True, threads=threads or usable_cores(), **settings)
    with whole_folder(target, replace=True, alone=True) as folder:
        copy_bundle(target, folder)
        reduce_bundle(folder, job)
    written = open_bundle(target)
    say(f"wrote {target}: {', '.join(written.manifest.variants)}")
    if plot is not None:
        from sacvit_deploy.calibration.sensitivity import draw_sensitivity  # here, as --help needs no onnx

        draw_sensitivity(written, plot)
        say(f"sensitivity by layer: {plot}")
