"""`sacvit infer`: files, folders and globs in, labels out."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import backend_options, bundle_option, run_command
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.images.overlay import draw_overlay
from sacvit_deploy.images.paths import expand
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

FEW = 8  # images, up to which packing the weights takes longer than it saves
COLUMNS = "{:<36} {:<20} {:>6}  {:<5} {:>8}"


@click.command("infer")
@click.argument("images", nargs=-1, required=True)
@click.option("--eta", type=float, help="Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]")
@click.option("--alpha", type=float, help="Share of tokens that stage 2 sees in full.  [default: the bundle's]")
@click.option("--topk", type=click.IntRange(min=1), default=1, show_default=True, help="Classes shown per image.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images per engine call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and image.")
@click.option("--overlay", type=click.Path(path_type=Path), help="Draw the targets into a file, or a folder for many.")
@click.option("--scaled", is_flag=True, help="Decode large JPEGs in full only where they continue to stage 2.")
@bundle_option
@backend_options
def command(
    images: tuple[str, ...],
    eta: float | None,
    alpha: float | None,
    topk: int,
    batch: int,
    as_json: bool,
    overlay: Path | None,
    scaled: bool,
    bundle: str | None,
    **runtime: Any,  # of `backend_options`
) -> int:
    """Classify IMAGES: files, folders of images, or quoted globs.

    Without --bundle, $SACVIT_BUNDLE is taken, else the one *.sacvit folder in the current folder, beside the images,
    or in the folder above them.
    """
    paths = expand(images)
    folder = Path(bundle) if bundle else find_bundle(paths)
    start = time.perf_counter()
    weights = "mapped" if len(paths) <= FEW else "packed"
    model = SACViT(folder, weights=weights, scaled=scaled, **runtime)
    if not as_json:
        click.echo(f"{folder}: {model.precision} on {model.backend.description}", err=not sys.stdout.isatty())
        click.echo(COLUMNS.format("image", "label", "prob", "stage", "ms"))
    opened = time.perf_counter()
    if overlay:
        check_overlay(overlay, many=len(paths) > 1)
    failed = continued = 0
    results = model.stream(paths, batch_size=min(batch, len(paths)), eta=eta, alpha=alpha)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, Prediction):
            continued += result.stage == 2
            show(result, topk, as_json)
            if overlay:
                target = overlay if len(paths) == 1 else overlay / f"{path.stem}.png"
                write_overlay(target, model.prepare(path).pixels, result)
            continue
        failed += 1
        if as_json:
            click.echo(json.dumps({"source": str(path), "error": str(result)}))
        else:
            click.echo(f"Error: {result}", err=True)
    if not as_json:
        summary(len(paths), failed, continued, opened - start, time.perf_counter() - opened)
        if overlay:
            click.echo(f"overlay: {overlay}")
    return 1 if failed else 0


def show(prediction: Prediction, topk: int, as_json: bool) -> None:
    """Print the answer for one image."""
    if as_json:
        click.echo(json.dumps(prediction.to_dict(topk)))
        return
    stage = "1 EE" if prediction.stage == 1 else "2 SAC"
    milliseconds = 1000 * sum(prediction.timing.values())
    for rank, (label, probability) in enumerate(prediction.topk(topk)):
        name = _short(prediction.source) if rank == 0 else ""
        tail = (stage, f"{milliseconds:.1f}") if rank == 0 else ("", "")
        click.echo(COLUMNS.format(name, label, f"{probability:.1%}", *tail).rstrip())


def summary(count: int, failed: int, continued: int, opening: float, running: float) -> None:
    """Print the counts of images, exits and failures, and the speed."""
    answered = count - failed
    parts = [f"{count} image{'s' * (count != 1)}"]
    if failed:
        parts.append(f"{failed} failed")
    if answered:
        parts.append(f"{answered - continued} exited at stage 1, {continued} continued ({continued / answered:.0%})")
    parts.append(f"opened in {opening:.2f} s, {answered / running:.1f} images/s")
    click.echo("; ".join(parts))


def check_overlay(target: Path, *, many: bool) -> None:
    """Raise UsageError unless `target` can be the file of one overlay, or the folder of many."""
    if many and target.suffix:
        raise UsageError(f"--overlay {target} is a file; for several images name a folder")
    if not many and target.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--overlay {target}: name a .png or .jpg file")


def write_overlay(target: Path, pixels: Pixels | None, prediction: Prediction) -> None:
    """Write the overlay of one image. Raises ImageError."""
    assert pixels is not None  # the image has been decoded before
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draw_overlay(pixels, prediction).save(target)
    except OSError as error:
        raise ImageError(f"can't write {target}: {error.strerror}") from error


def _short(source: str) -> str:
    """Shorten a path to the column: keep its end, cut at a folder if the file name fits."""
    if len(source) <= 36:
        return source
    name = os.path.basename(source)
    return f".../{name}" if len(name) <= 32 else f"...{source[-33:]}"


def main() -> NoReturn:
    """Entry point of `sacvit-infer`."""
    run_command(command)
