"""Class-per-folder data sets, FOLDER/<class>/**/*.jpg and the like: which image files belong to which class."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES


def image_files(folder: Path) -> list[Path]:
    """List the image files in `folder` and the folders below it, sorted by path; judged by their suffixes alone.

    Links to files and a `folder` that is itself a link are followed; links to folders below it are not.
    """
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """List the image files of each class, by class name in ascending order; hidden folders and loose files are ignored.

    A class without images has an empty list. Raises UsageError if `folder` is not a folder or has no class folders.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name one that holds a folder of images for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UsageError(f"{folder} has no class folders; put the images of each class into a folder of its name")
    return {path.name: image_files(path) for path in classes}
