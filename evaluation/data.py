"""Labelled pictures: a class-per-folder data set, or a part of any set."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES

SHOWN = 5  # names in one message
UNKNOWN = -1  # the label of a picture without one
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pictures:
    """n pictures with their classes; pixels are read when asked for.

    labels: [n] class indices. names: [n], for messages and captions. load: row -> [S,S,3] uint8, the model's view;
    raises ImageError. object_px: [n] longer side of the object, px of the scene. boxes: [n,4] left, top, right, bottom,
    px of the model's view, right and bottom excluded. Both None where the set doesn't know. notes: what was skipped.
    """

    kind: str  # "pictures" or "scenes"
    source: str
    labels: Index
    names: Sequence[str]
    load: Callable[[int], Pixels]
    object_px: Float | None = None
    boxes: Float | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether the classes are known; where they aren't, every label is UNKNOWN."""
        return bool((self.labels != UNKNOWN).all())

    def pick(self, rows: Index) -> Pictures:
        """Some of the pictures, in the order of `rows`."""
        load = self.load
        return dataclasses.replace(
            self,
            labels=self.labels[rows],
            names=[self.names[row] for row in rows],
            load=lambda row: load(int(rows[row])),
            object_px=None if self.object_px is None else self.object_px[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
        )


def open_folder(folder: Path, labels: Sequence[str], load: Callable[[Path], Pixels]) -> Pictures:
    """Open FOLDER/<class>/**/*.jpg and the like; folder names are labels of the bundle.

    Empty class folders become notes. Raises UsageError for folders that are no labels, and when nothing is left.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; --data takes one with a folder of pictures for each class")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise UsageError(f"{folder} has no class folders; put the pictures of each class into a folder of its name")
    _check_names(folder, [path.name for path in classes], labels)
    paths: list[Path] = []
    truth: list[int] = []
    empty = []
    for path in classes:
        found = _pictures_in(path)
        if not found:
            empty.append(path.name)
        paths += found
        truth += [labels.index(path.name)] * len(found)
    if not paths:
        looked = ", ".join(SUFFIXES)
        raise UsageError(f"{folder}: no pictures in its {counted(len(classes), 'class folder')} (looked for {looked})")
    notes = []
    if empty:
        notes.append(f"{counted(len(empty), 'class folder')} without pictures, skipped: {listed(empty)}")
    missing = len(set(labels)) - len(classes)
    if missing:
        notes.append(f"{missing} of the bundle's {len(labels)} classes have no folder in {folder} and are not tested")
    return Pictures(
        kind="pictures",
        source=str(folder),
        labels=np.array(truth, dtype=np.int64),
        names=[str(path) for path in paths],
        load=lambda row: load(paths[row]),
        notes=tuple(notes),
    )


def open_unlabelled(folder: Path, load: Callable[[Path], Pixels]) -> Pictures:
    """Open every picture in FOLDER and the folders in it, without labels. Raises UsageError if there is none."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name one with pictures")
    paths = _pictures_in(folder)
    if not paths:
        raise UsageError(f"{folder} holds no pictures (looked for {', '.join(SUFFIXES)})")
    return Pictures(
        kind="pictures",
        source=str(folder),
        labels=np.full(len(paths), UNKNOWN, dtype=np.int64),
        names=[str(path) for path in paths],
        load=lambda row: load(paths[row]),
    )


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _check_names(folder: Path, names: Sequence[str], labels: Sequence[str]) -> None:
    unknown = [name for name in names if name not in labels]
    if unknown:
        near = difflib.get_close_matches(unknown[0], labels, n=3)
        known = list(dict.fromkeys([*near, *labels]))[:SHOWN]
        raise UsageError(
            f"{folder} has {counted(len(unknown), 'folder')} named after no class of the bundle: {listed(unknown)}; "
            f"the bundle's {len(labels)} classes are named like {', '.join(known)}"
        )
    twice = [name for name in names if list(labels).count(name) > 1]
    if twice:
        raise UsageError(f"{folder / twice[0]}: the bundle has several classes of that name, so the folder fits none")


def spread(labels: Index, limit: int) -> Index:
    """Choose `limit` rows of [n] labels, ascending: classes in proportion, at least one row of each if there's room.

    Within a class the rows are evenly spaced. All rows where there are no more than `limit`; limit >= 1.
    """
    if limit >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    if limit < len(sizes):
        chosen = _even(len(sizes), limit)
        starts, sizes = starts[chosen], sizes[chosen]
    # One row for each class, then the rest by the sizes left; no class can get more than it has.
    rest, room = limit - len(sizes), np.cumsum(sizes - 1)
    edges = room * rest // max(1, int(room[-1]))
    quotas = 1 + np.diff(edges, prepend=0)
    rows = [order[start + _even(size, quota)] for start, size, quota in zip(starts, sizes, quotas, strict=True)]
    return np.sort(np.concatenate(rows)).astype(np.int64)


def _even(size: int, count: int) -> Index:
    """`count` different numbers below `size`, evenly spaced; count <= size."""
    at: Index = (2 * np.arange(count, dtype=np.int64) + 1) * size // (2 * count)
    return at


def counted(count: int, thing: str) -> str:
    """`1 picture`, `2,000 pictures`."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
