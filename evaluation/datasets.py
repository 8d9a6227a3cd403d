"""Opening the images a command measures on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.data import Pictures, open_folder, open_unlabelled
from sacvit_deploy.evaluation.scenes import FINISHED, open_scenes
from sacvit_deploy.model import SACViT

if TYPE_CHECKING:
    pass  # not at run time: --help needs no onnx


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


def prepared(model: SACViT, path: Path) -> Pixels:
    """One picture as the runtime prepares it. Raises ImageError."""
    item = model.prepare(path)
    if item.error is not None:
        raise item.error
    assert item.pixels is not None
    return item.pixels
