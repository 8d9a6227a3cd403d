"""Images with their classes, a choice of them, and their decoding batch by batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.workers import Workers

UNKNOWN = -1  # the label of an image without one
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelledImages:
    """A data set of n images and their classes; pixels are read on demand.

    labels: [n] class indices. names: [n], for messages and captions. load: row -> [S,S,3] uint8, the model's view;
    raises ImageError. object_px: [n] longer side of the object, px of the scene. boxes: [n,4] left, top, right, bottom,
    px of the model's view, right and bottom excluded. Both are None where the data set does not record them. workers:
    threads that load at a time. notes: remarks for the user, such as class folders that were skipped.
    """

    kind: str  # "images" or "scenes"
    source: str
    labels: Index
    names: Sequence[str]
    load: Callable[[int], Pixels]
    object_px: Float | None = None
    boxes: Float | None = None
    workers: int = field(default_factory=usable_cores)
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """True where the classes are known; where they are not, every label is UNKNOWN."""
        return bool((self.labels != UNKNOWN).all())

    def pick(self, rows: Index) -> LabelledImages:
        """Return the images `rows` as a data set of their own, in that order."""
        load = self.load
        return dataclasses.replace(
            self,
            labels=self.labels[rows],
            names=[self.names[row] for row in rows],
            load=lambda row: load(int(rows[row])),
            object_px=None if self.object_px is None else self.object_px[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
        )


@dataclass(frozen=True)
class DecodedBatch:
    """Up to `size` decoded images with their rows in the data set, and the errors of those that can't be read."""

    size: int
    rows: Index
    images: Sequence[Pixels]
    errors: Sequence[SacvitError]


def decoded_batches(dataset: LabelledImages, batch: int) -> Iterator[DecodedBatch]:
    """Decode a data set in order, on its worker threads.

    Nothing is decoded ahead of the batch asked for: an engine that runs meanwhile would be timed with it.
    """

    def load(row: int) -> Pixels | SacvitError:
        try:
            return dataset.load(row)
        except SacvitError as error:
            return error

    with Workers(dataset.workers) as pool:
        for start in range(0, len(dataset), batch):
            rows = range(start, min(start + batch, len(dataset)))
            futures = [pool.submit(load, row) for row in rows]
            loaded = [(row, future.result()) for row, future in zip(rows, futures, strict=True)]
            yield DecodedBatch(
                size=len(rows),
                rows=np.array([row for row, image in loaded if not isinstance(image, SacvitError)], dtype=np.int64),
                images=[image for _, image in loaded if not isinstance(image, SacvitError)],
                errors=[image for _, image in loaded if isinstance(image, SacvitError)],
            )


def spread_rows(labels: Index, limit: int) -> Index:
    """Choose `limit` rows of [n] labels, ascending: classes in proportion, at least one row of each if there is room.

    Within a class the rows are evenly spaced. Returns all rows where there are no more than `limit`; limit >= 1.
    """
    if limit >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    if limit < len(sizes):
        chosen = _even(len(sizes), limit)
        starts, sizes = starts[chosen], sizes[chosen]
    # One row for each class, then the rest in proportion to what is left of each; no class can get more than it has.
    rest, room = limit - len(sizes), np.cumsum(sizes - 1)
    edges = room * rest // max(1, int(room[-1]))
    quotas = 1 + np.diff(edges, prepend=0)
    rows = [order[start + _even(size, quota)] for start, size, quota in zip(starts, sizes, quotas, strict=True)]
    return np.sort(np.concatenate(rows)).astype(np.int64)


def _even(size: int, count: int) -> Index:
    """Return `count` different numbers below `size`, evenly spaced; count <= size."""
    numbers: Index = (2 * np.arange(count, dtype=np.int64) + 1) * size // (2 * count)
    return numbers
