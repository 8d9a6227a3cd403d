"""What the room's three commands share: their options, opening the bundle and the pictures, and notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import backend_options
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.data import Pictures, counted, listed, open_folder, spread
from sacvit_deploy.evaluation.datasets import prepared
from sacvit_deploy.evaluation.outputs import Outputs
from sacvit_deploy.evaluation.scenes import open_scenes
from sacvit_deploy.model import SACViT

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Job:
    """An opened model and the pictures to measure it on."""

    model: SACViT
    pictures: Pictures
    batch: int

    def heading(self) -> str:
        """Two lines: what was measured, on what."""
        model, pictures = self.model, self.pictures
        return (
            f"{model.bundle.path}: {model.precision} on {model.backend.description}, batch {self.batch}\n"
            f"{len(pictures):,} {pictures.kind} from {pictures.source}"
        )

    def facts(self) -> dict[str, Any]:
        """The same for JSON."""
        model, pictures = self.model, self.pictures
        return {
            "bundle": str(model.bundle.path),
            "precision": model.precision,
            "runtime": model.backend.description,
            "batch": self.batch,
            "data": pictures.source,
            "kind": pictures.kind,
            "notes": list(pictures.notes),
        }


def job_options(function: F) -> F:
    """BUNDLE, --data or --scenes, --limit, --batch, and the backend's options."""
    function = backend_options(function)
    options = (
        click.argument("bundle", required=False, type=click.Path(path_type=Path)),
        click.option("--data", type=click.Path(path_type=Path), help="Folder of class folders with pictures."),
        click.option("--scenes", type=click.Path(path_type=Path), help="Folder of rendered scenes."),
        click.option("--limit", type=click.IntRange(min=1), help="Take only so many, spread over the classes."),
        click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Pictures a call."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def open_job(
    *,
    bundle: Path | None,
    data: Path | None,
    scenes: Path | None,
    limit: int | None,
    batch: int,
    backend: str,
    provider: str | None,
    precision: str,
    threads: int | None,
) -> Job:
    """Open what `job_options` name. Raises UsageError unless there is just one of --data and --scenes."""
    if (data is None) == (scenes is None):
        raise UsageError("name the labelled pictures: either --data FOLDER or --scenes FOLDER")
    model = SACViT(bundle or find_bundle(), backend=backend, provider=provider, precision=precision, threads=threads)
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    if scenes is not None:
        pictures = open_scenes(scenes, geometry.classes, geometry.image_size, preprocessing)
    else:
        assert data is not None
        pictures = open_folder(data, model.labels, lambda path: prepared(model, path))
    if limit is not None:
        pictures = pictures.pick(spread(pictures.labels, limit))
    return Job(model, pictures, batch)


def show_notes(job: Job, outputs: Outputs) -> None:
    """Say on stderr what is not in the numbers, and why."""
    for note in job.pictures.notes:
        click.echo(f"Note: {note}", err=True)
    if outputs.unreadable:
        reasons = listed([str(error) for error in outputs.unreadable])
        click.echo(f"Note: {counted(len(outputs.unreadable), 'unreadable picture')} skipped: {reasons}", err=True)
    if outputs.overflowed:
        names = listed([str(error).partition(":")[0] for error in outputs.overflowed])
        click.echo(
            f"Error: {counted(len(outputs.overflowed), 'picture')} got NaN or infinite values and no answer; they are "
            f"not in the numbers: {names}; try another precision, such as fp32",
            err=True,
        )


def failures(outputs: Outputs) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "unreadable": [str(error) for error in outputs.unreadable],
        "overflowed": [str(error) for error in outputs.overflowed],
    }
