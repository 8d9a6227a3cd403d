"""Opens the images that a command measures or calibrates with: class folders, rendered scenes, or any images."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.console.text import SHOWN, counted, listed
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import UNKNOWN, LabelledImages
from sacvit_deploy.evaluation.scenes import FINISHED, open_scenes
from sacvit_deploy.images.class_folders import class_folders, hidden_files, image_files
from sacvit_deploy.images.decode import SUFFIXES
from sacvit_deploy.model import SACViT


def open_images(model: SACViT, folder: Path) -> LabelledImages:
    """Open rendered scenes, class folders named after the bundle's classes, or else all images without labels.

    Folders of images that are named after no class become a note, which says how to name the classes after them.

    Raises UsageError where the folder can't be read or holds no images.
    """
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    if any((folder / name / FINISHED).exists() for name in ("", "test")):
        return open_scenes(folder, geometry.classes, geometry.image_size, preprocessing)
    try:
        subfolders = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    except OSError as error:
        raise UsageError(f"can't read images from {folder}: {error.strerror}") from error
    if subfolders & set(model.labels):
        return open_folder(folder, model.labels, lambda path: prepare_image(model, path), model.opened.preparer.workers)
    notes = [mismatch(folder, sorted(subfolders), model.labels)] if subfolders else []
    return open_unlabelled(folder, lambda path: prepare_image(model, path), notes, model.opened.preparer.workers)


def prepare_image(model: SACViT, path: Path) -> Pixels:
    """Decode and fit one image as the runtime does: [S,S,3] uint8. Raises ImageError, BackendError."""
    item = model.opened.preparer.full(path)
    if item.error is not None:
        raise item.error
    assert item.pixels is not None
    return item.pixels


def open_folder(
    folder: Path, labels: Sequence[str], load: Callable[[Path], Pixels], workers: int | None = None
) -> LabelledImages:
    """Open FOLDER/<class>/**/*.jpg and the like, whose folders are named after the bundle's classes.

    Empty class folders become notes. workers: threads that load, one for each core unless given.

    Raises UsageError for folders that name no class, and when no image is left.
    """
    classes = class_folders(folder)
    _check_names(folder, list(classes), labels)
    paths = [path for files in classes.values() for path in files]
    truth = [labels.index(name) for name, files in classes.items() for _ in files]
    if not paths:
        suffixes = ", ".join(SUFFIXES)
        raise UsageError(f"{folder}: no images in its {counted(len(classes), 'class folder')} (looked for {suffixes})")
    notes = []
    empty = [name for name, files in classes.items() if not files]
    if empty:
        notes.append(f"{counted(len(empty), 'class folder')} without images, skipped: {listed(empty)}")
    missing = len(set(labels)) - len(classes)
    if missing:
        notes.append(f"{missing} of the bundle's {len(labels)} classes have no folder in {folder} and are not tested")
    return _from_files(folder, paths, truth, load, notes, workers)


def open_unlabelled(
    folder: Path, load: Callable[[Path], Pixels], notes: Sequence[str] = (), workers: int | None = None
) -> LabelledImages:
    """Open every image in FOLDER and the folders in it, without labels. Raises UsageError if there is none.

    workers: see `open_folder`.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name one with images")
    paths = image_files(folder)
    if not paths:
        raise UsageError(f"{folder} holds no images (looked for {', '.join(SUFFIXES)})")
    return _from_files(folder, paths, [UNKNOWN] * len(paths), load, notes, workers)


def _from_files(
    folder: Path,
    paths: list[Path],
    labels: list[int],
    load: Callable[[Path], Pixels],
    notes: Sequence[str],
    workers: int | None,
) -> LabelledImages:
    names, truth = [str(path) for path in paths], np.array(labels, dtype=np.int64)
    hidden = hidden_files(folder)
    if hidden:
        notes = [*notes, f"{counted(len(hidden), 'hidden file')} skipped: {listed([path.name for path in hidden])}"]
    return LabelledImages(
        "images",
        str(folder),
        truth,
        names,
        lambda row: load(paths[row]),
        workers=workers or usable_cores(),
        notes=tuple(notes),
    )


def mismatch(folder: Path, names: Sequence[str], labels: Sequence[str]) -> str:
    """Say which of the folders `names` are named after no class, what classes are named like, and the way out."""
    unknown = [name for name in names if name not in labels]
    near = difflib.get_close_matches(unknown[0], labels, n=3)
    known = list(dict.fromkeys([*near, *labels]))[:SHOWN]
    said = (
        f"{folder} has {counted(len(unknown), 'folder')} named after no class of the bundle: {listed(unknown)}; "
        f"the bundle's {len(labels)} classes are named like {', '.join(known)}"
    )
    if len(unknown) < len(names):  # a slip of the pen
        return said
    if len(names) == len(labels):
        return f"{said}; if the model was trained on these folders, say: sacvit relabel BUNDLE --labels {folder}"
    return (
        f"{said}; if folders have other names for them, say: sacvit relabel BUNDLE --labels FILE|FOLDER with all names"
    )


def _check_names(folder: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    """Raise UsageError unless every name is the label of exactly one class."""
    if not set(names) <= set(labels):
        raise UsageError(mismatch(folder, names, labels))
    ambiguous = [name for name in names if list(labels).count(name) > 1]
    if ambiguous:
        raise UsageError(
            f"{folder / ambiguous[0]}: the bundle has several classes of that name, so the folder fits none"
        )
