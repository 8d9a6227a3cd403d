"""Names of classes from a folder of class folders, as trainers read it."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.console.text import counted, listed
from sacvit_deploy.errors import LabelError

# Parts of a data set: where such a folder has folders itself, these are the classes. The training's goes first.
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev")
# What tools and systems leave between the class folders.
TOOLS = ("__pycache__", "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
# Halves of data sets for detection and segmentation.
DETECTION = {"images", "labels", "annotations", "masks"}


def from_folder(folder: Path, classes: int | None) -> tuple[list[str], list[str]]:
    """Return the class names in the order of the subfolders' names, as torchvision's ImageFolder has it, and notes.

    classes: how many there must be, if known: it decides whether empty folders count. Raises LabelError.
    """
    found = _folders(folder)
    splits = [name for split in SPLITS for name in found if name.lower() == split and _folders(folder / name)]
    if not splits:
        return _classes(folder, found, classes)
    others = sorted(set(found) - set(splits))
    names, notes = _classes(folder / splits[0], _folders(folder / splits[0]), classes)
    if others or splits[0].lower() != SPLITS[0]:
        beside = f"; left out {listed(_shown(others))} beside it" if others else ""
        notes.insert(0, f"{folder}: took the class folders in {splits[0]}{beside}")
    for split in splits[1:]:
        if strange := sorted(set(_folders(folder / split)) - set(names)):
            notes.append(f"{folder}: {split} has folders that {splits[0]} has not: {listed(_shown(strange))}")
    return names, notes


def _classes(folder: Path, found: list[str], classes: int | None) -> tuple[list[str], list[str]]:
    """Return the names that count among a folder's subfolders, and notes."""
    tools = [name for name in found if name.lower() in TOOLS]
    names = [name for name in found if name not in tools]
    notes = [f"{folder}: left out {listed(_shown(tools))}, no class folders"] if tools else []
    if not names:
        raise LabelError(f"{folder} has no class folders; name a folder that holds one of each class")
    if {name.lower() for name in names} <= DETECTION:
        raise LabelError(f"{folder} holds {listed(names)}, no class folders; give a text file with one name a line")
    empty = [name for name in names if _is_empty(folder / name)]
    if empty and len(empty) < len(names):
        if classes is not None and len(names) - len(empty) == classes:
            notes.append(f"{folder}: left out empty folders: {listed(_shown(empty))}")
            return [name for name in names if name not in empty], notes
        notes.append(
            f"{folder}: {counted(len(empty), 'class folder')} of {len(names)} without files, which "
            f"{'counts' if len(empty) == 1 else 'count'}, too: {listed(_shown(empty))}"
        )
    return names, notes


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise LabelError(f"can't read labels from {folder} ({error.strerror})") from error


def _is_empty(folder: Path) -> bool:
    try:
        return all(path.name.startswith(".") for path in folder.iterdir())
    except OSError:
        return False  # that it can't be read is no sign of emptiness


def _shown(names: list[str]) -> list[str]:
    """Return names as they can be printed: file systems allow bytes that are no text."""
    return [name.encode("utf-8", "backslashreplace").decode() for name in names]
