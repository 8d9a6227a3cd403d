"""Class-per-folder data sets, FOLDER/<class>/**/*.jpg and the like: which image files belong to which class."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES

VAL_NAMES = ("val", "validation", "test")  # of a data set's folder that is measured on, the first that is there


def image_files(folder: Path) -> list[Path]:
    """List the image files in `folder` and the folders below it, sorted by path; judged by their suffixes alone.

    Links to files and a `folder` that is itself a link are followed; links to folders below it are not. Hidden files
    are none, nor are those in hidden folders.
    """
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not _is_hidden(path, folder))


def hidden_files(folder: Path) -> list[Path]:
    """List the files that `image_files` leaves out as hidden."""
    return sorted(
        path
        for parent, _, names in os.walk(folder)
        for path in (Path(parent, name) for name in names)
        if path.suffix.lower() in SUFFIXES and _is_hidden(path, folder)
    )


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


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


def measured_folder(folder: Path, labels: Collection[str]) -> Path:
    """Return the folder of class folders that a data set is measured on: FOLDER/val and the like, else FOLDER itself.

    FOLDER is taken where one of its folders is named after a class of `labels`.
    """
    try:
        if any(path.name in labels and path.is_dir() for path in folder.iterdir()):
            return folder
    except OSError:  # left to its reader
        return folder
    return next((folder / name for name in VAL_NAMES if (folder / name).is_dir()), folder)
