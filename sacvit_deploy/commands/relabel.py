"""`sacvit relabel`: new names for a bundle's classes."""

from __future__ import annotations

from pathlib import Path

import click

from sacvit_deploy.bundle.bundle import open_manifest
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.label_file import read_labels
from sacvit_deploy.bundle.relabel import broken_labels, write_labels
from sacvit_deploy.bundle.write import recover
from sacvit_deploy.commands.common import bundle_argument
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.console.text import listed


@click.command("relabel", cls=StrictCommand)
@bundle_argument
@click.option(
    "--labels",
    required=True,
    type=click.Path(path_type=Path),
    help="Class names: a text file, one a line; JSON; or a FOLDER of class folders.",
)
def command(bundle: Path | None, labels: Path) -> None:
    """Give a bundle's classes new names. Engines, answers and plans stay as they are."""
    folder = bundle or find_bundle()
    recover(folder)
    manifest = open_manifest(folder)
    broken = broken_labels(folder, manifest)
    names, notes = read_labels(labels, manifest.config.geometry.classes)
    if broken is not None:
        notes.append(f"{broken}, and is replaced; the bundle's other files are as they were written")
    for note in notes:
        say(f"Note: {printable(note)}", err=True)
    if not write_labels(folder, names, f"from {labels.name or labels.resolve().name}"):
        say(f"{folder} has these labels already")
        return
    say(f"{folder}: {len(names)} classes are now named {printable(listed(names))}")
