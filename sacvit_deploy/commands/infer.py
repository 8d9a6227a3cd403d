"""`sacvit infer`: files, folders and globs in, labels out."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import click

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import alpha_option, backend_options, bundle_option, note_to_user, run_command
from sacvit_deploy.commands.overlay_files import overlay_files, write_overlay
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.paths import expand
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

FEW = 8  # images, up to which packing the weights takes longer than it saves
COLUMNS = "{:<36} {:<20} {:>6}  {:<5} {:>8}"


@click.command("infer", cls=StrictCommand)
@click.argument("images", nargs=-1, required=True)
@click.option("--eta", type=float, help="Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]")
@alpha_option
@click.option("--topk", type=click.IntRange(min=1), default=1, show_default=True, help="Classes shown per image.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images per engine call.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line and image.")
@click.option("--overlay", type=click.Path(path_type=Path), help="Draw the targets into a file, or into a folder.")
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
    paths = expand(images, note_to_user)
    folder = Path(bundle) if bundle else find_bundle(paths)
    start = time.perf_counter()
    weights = "mapped" if len(paths) <= FEW else "packed"
    model = SACViT(folder, weights=weights, scaled=scaled, **runtime)
    eta = model.eta if eta is None else check_eta(eta)
    alpha = model.config.method.alpha if alpha is None else alpha
    model.config.num_targets(alpha)  # an impossible alpha fails here
    files = overlay_files(overlay, paths) if overlay else []
    if not as_json:
        used = f"{model.precision} on {model.backend.description}; eta {eta:g}, alpha {alpha:g}"
        say(f"{folder}: {used}", err=not sys.stdout.isatty())
        say(COLUMNS.format("image", "label", "prob", "stage", "ms"))
    opened = time.perf_counter()
    failed = continued = undrawn = 0
    results = model.stream(paths, batch_size=min(batch, len(paths)), eta=eta, alpha=alpha)
    for number, (path, result) in enumerate(zip(paths, results, strict=True)):
        if isinstance(result, Prediction):
            continued += result.stage == 2
            if as_json:
                click.echo(json.dumps({**result.to_dict(topk), "eta": eta, "alpha": alpha}))
            else:
                show(result, topk)
            if overlay:
                try:
                    write_overlay(files[number], model.prepare(path), result, eta, alpha)
                except SacvitError as error:
                    undrawn += 1
                    say(f"Error: {printable(str(error))}", err=True)
            continue
        failed += 1
        if as_json:
            click.echo(json.dumps({"source": str(path), "error": str(result)}))
        else:
            say(f"Error: {printable(str(result))}", err=True)
    if not as_json:
        summary(len(paths), failed, continued, undrawn, opened - start, time.perf_counter() - opened)
        if overlay:
            say(f"overlay: {files[0] if len(files) == 1 else overlay}")
    return 1 if failed or undrawn else 0


def show(prediction: Prediction, topk: int) -> None:
    """Print the answer for one image as text."""
    stage = "1 EE" if prediction.stage == 1 else "2 SAC"
    milliseconds = 1000 * sum(prediction.timing.values())
    for rank, (label, probability) in enumerate(prediction.topk(topk)):
        name = _short(printable(prediction.source)) if rank == 0 else ""
        tail = (stage, f"{milliseconds:.1f}") if rank == 0 else ("", "")
        say(COLUMNS.format(name, printable(label), f"{probability:.1%}", *tail).rstrip())


def summary(count: int, failed: int, continued: int, undrawn: int, opening: float, running: float) -> None:
    """Print the counts of images, exits, failures and overlays that are missing, and the speed."""
    answered = count - failed
    parts = [f"{count} image{'s' * (count != 1)}"]
    if failed:
        parts.append(f"{failed} failed")
    if undrawn:
        parts.append(f"{undrawn} without overlay")
    if answered:
        parts.append(f"{answered - continued} exited at stage 1, {continued} continued ({continued / answered:.0%})")
    parts.append(f"opened in {opening:.2f} s, {answered / running:.1f} images/s")
    say("; ".join(parts))


def _short(source: str) -> str:
    """Shorten a path to the column: keep its end, cut at a folder if the file name fits."""
    if len(source) <= 36:
        return source
    name = os.path.basename(source)
    return f".../{name}" if len(name) <= 32 else f"...{source[-33:]}"


def main() -> NoReturn:
    """Entry point of `sacvit-infer`."""
    run_command(command)
