"""Options, opening of bundle and images, and notes that `sacvit eval`, `sweep` and `overlay-sheet` share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import backend_options, bundle_argument
from sacvit_deploy.console.terminal import say
from sacvit_deploy.console.text import counted, listed
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import LabelledImages, spread_rows
from sacvit_deploy.evaluation.metrics import to_json
from sacvit_deploy.evaluation.open_images import open_folder, prepare_image
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.evaluation.scenes import open_scenes
from sacvit_deploy.images.class_folders import measured_folder
from sacvit_deploy.model import SACViT

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class EvalJob:
    """An opened model, the images to measure it on, and the batch size."""

    model: SACViT
    dataset: LabelledImages
    batch: int

    def facts(self) -> dict[str, Any]:
        """Return what was measured, on which images, and notes on these, for JSON."""
        model, dataset = self.model, self.dataset
        return {
            "bundle": str(model.bundle.path),
            "precision": model.precision,
            "runtime": model.backend.description,
            "batch": self.batch,
            "data": dataset.source,
            "kind": dataset.kind,
            "notes": list(dataset.notes),
        }


def eval_options(function: F) -> F:
    """Add BUNDLE, --data, --scenes, --limit, --batch, and the backend's options to a command."""
    function = backend_options(function)
    options = (
        bundle_argument,
        click.option("--data", type=click.Path(path_type=Path), help="Images: FOLDER/<class>/ or FOLDER/val/<class>/."),
        click.option("--scenes", type=click.Path(path_type=Path), help="Folder of rendered scenes."),
        click.option("--limit", type=click.IntRange(min=1), help="Use only so many images, spread over the classes."),
        click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True, help="Images per call."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def open_job(
    *, bundle: Path | None, data: Path | None, scenes: Path | None, limit: int | None, batch: int, **backend: Any
) -> EvalJob:
    """Open what `eval_options` name. Raises UsageError unless there is just one of --data and --scenes."""
    if (data is None) == (scenes is None):
        raise UsageError("name the labelled images: either --data FOLDER or --scenes FOLDER")
    model = SACViT(bundle or find_bundle(), **backend)
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    if scenes is not None:
        dataset = open_scenes(scenes, geometry.classes, geometry.image_size, preprocessing)
    else:
        assert data is not None
        folder = measured_folder(data, model.labels)
        workers = model.opened.preparer.workers
        dataset = open_folder(folder, model.labels, lambda path: prepare_image(model, path), workers)
    if limit is not None:
        dataset = dataset.pick(spread_rows(dataset.labels, limit))
    return EvalJob(model, dataset, batch)


def show_heading(job: EvalJob, outputs: EvalOutputs) -> None:
    """Print what was measured and on which images; on stderr those that are missing from the numbers, and why."""
    for note in job.dataset.notes:
        say(f"Note: {note}", err=True)
    if outputs.unreadable:
        reasons = listed([str(error) for error in outputs.unreadable])
        say(f"Note: {counted(len(outputs.unreadable), 'unreadable image')} skipped: {reasons}", err=True)
    if outputs.overflowed:
        names = listed([str(error).partition(":")[0] for error in outputs.overflowed])
        say(
            f"Error: {counted(len(outputs.overflowed), 'image')} got NaN or infinite values and no answer; they are "
            f"not in the numbers: {names}; try another precision, such as fp32",
            err=True,
        )
    model, dataset = job.model, job.dataset
    say(f"{model.bundle.path}: {model.precision} on {model.backend.description}, batch {job.batch}")
    say(f"{len(dataset):,} {dataset.kind} from {dataset.source}")


def print_json(facts: Any) -> None:
    """Print a command's results as JSON."""
    click.echo(json.dumps(facts, indent=1, default=to_json))


def failures(outputs: EvalOutputs) -> dict[str, Any]:
    """List the errors of the images that are missing from the numbers, for JSON."""
    return {
        "unreadable": [str(error) for error in outputs.unreadable],
        "overflowed": [str(error) for error in outputs.overflowed],
    }
