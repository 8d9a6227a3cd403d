"""`sacvit infer`: files, folders and globs in, labels out."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import NoReturn

import click

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import backend_options, bundle_option, run
from sacvit_deploy.errors import ImageError, SacvitError, UsageError
from sacvit_deploy.images.overlay import draw_overlay
from sacvit_deploy.images.paths import expand
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

FEW = 8  # pictures, up to which packing the weights takes longer than it saves
COLUMNS = "{:<36} {:<20} {:>6}  {:<5} {:>8}"


@click.command("infer")
@click.argument("pictures", nargs=-1, required=True)
@click.option("--eta", type=float, help="Exit after stage 1 above this probability, 0 to 1.  [default: the bundle's]")
@click.option("--alpha", type=float, help="Share of tokens looked at again in full.  [default: the bundle's]")
@click.option("--topk", type=click.IntRange(min=1), default=1, show_default=True, help="Classes shown a picture.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures an engine call.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and picture.")
@click.option("--overlay", type=click.Path(path_type=Path), help="Draw the targets: a file, or a folder for many.")
@click.option("--scaled", is_flag=True, help="Decode large JPEGs in full only where they go on to stage 2.")
@bundle_option
@backend_options
def command(
    pictures: tuple[str, ...],
    eta: float | None,
    alpha: float | None,
    topk: int,
    batch: int,
    as_json: bool,
    overlay: Path | None,
    scaled: bool,
    bundle: str | None,
    backend: str,
    provider: str | None,
    precision: str,
    threads: int | None,
) -> int:
    """Classify PICTURES: files, folders of pictures, or quoted globs.

    Without --bundle, $SACVIT_BUNDLE is taken, else the one *.sacvit folder in the current folder, beside the pictures,
    or in the folder above them.
    """
    paths = expand(pictures)
    folder = Path(bundle) if bundle else find_bundle(paths)
    start = time.perf_counter()
    weights = "mapped" if len(paths) <= FEW else "packed"
    model = SACViT(
        folder,
        backend=backend,
        provider=provider,
        precision=precision,
        threads=threads,
        weights=weights,
        scaled=scaled,
    )
    if not as_json:
        click.echo(f"{folder}: {model.precision} on {model.backend.description}", err=not sys.stdout.isatty())
        click.echo(COLUMNS.format("picture", "label", "prob", "stage", "ms"))
    opened = time.perf_counter()
    sheet = Overlays(model, overlay, many=len(paths) > 1) if overlay else None
    failed = continued = 0
    results = model.stream(paths, batch_size=min(batch, len(paths)), eta=eta, alpha=alpha)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, Prediction):
            continued += result.stage == 2
            show(result, topk, as_json)
            if sheet:
                sheet.draw(path, result)
        else:
            failed += 1
            show_error(path, result, as_json)
    if not as_json:
        summary(len(paths), failed, continued, opened - start, time.perf_counter() - opened)
        if sheet:
            click.echo(f"overlay: {overlay}")
    return 1 if failed else 0


def show(prediction: Prediction, topk: int, as_json: bool) -> None:
    """Print one answer."""
    if as_json:
        click.echo(json.dumps(prediction.to_dict(topk)))
        return
    stage = "1 EE" if prediction.stage == 1 else "2 SAC"
    spent = 1000 * sum(prediction.timing.values())
    for rank, (label, probability) in enumerate(prediction.topk(topk)):
        name = _short(prediction.source) if rank == 0 else ""
        tail = (stage, f"{spent:.1f}") if rank == 0 else ("", "")
        click.echo(COLUMNS.format(name, label, f"{probability:.1%}", *tail).rstrip())


def show_error(path: Path, error: SacvitError, as_json: bool) -> None:
    """Print one failure: to the JSON stream, else to stderr."""
    if as_json:
        click.echo(json.dumps({"source": str(path), "error": str(error)}))
    else:
        click.echo(f"Error: {error}", err=True)


def summary(count: int, failed: int, continued: int, opening: float, running: float) -> None:
    """Print how it went."""
    answered = count - failed
    parts = [f"{count} picture{'s' * (count != 1)}"]
    if failed:
        parts.append(f"{failed} failed")
    if answered:
        parts.append(f"{answered - continued} exited at stage 1, {continued} continued ({continued / answered:.0%})")
    parts.append(f"opened in {opening:.2f} s, {answered / running:.1f} pictures/s")
    click.echo("; ".join(parts))


class Overlays:
    """Where overlay pictures go: the named file for one picture, a file for each in the named folder for many."""

    def __init__(self, model: SACViT, target: Path, *, many: bool) -> None:
        self._model, self._target, self._many = model, target, many
        if many and target.suffix:
            raise UsageError(f"--overlay {target} is a file; for several pictures name a folder")
        if not many and target.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise UsageError(f"--overlay {target}: name a .png or .jpg file")

    def draw(self, path: Path, prediction: Prediction) -> None:
        """Write one overlay."""
        item = self._model.prepare(path)
        assert item.pixels is not None
        target = self._target / f"{path.stem}.png" if self._many else self._target
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draw_overlay(item.pixels, prediction).save(target)
        except OSError as error:
            raise ImageError(f"can't write {target}: {error.strerror}") from error


def _short(source: str) -> str:
    """What fits the column: a whole path, or its end, cut at a folder where that leaves the name whole."""
    if len(source) <= 36:
        return source
    name = os.path.basename(source)
    return f".../{name}" if len(name) <= 32 else f"...{source[-33:]}"


def main() -> NoReturn:
    """Entry point of `sacvit-infer`."""
    run(command)
