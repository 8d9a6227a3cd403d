"""Scaled decoding: stage 1's view from a fraction of a JPEG's samples, the whole picture only where it continues.

A JPEG can be decoded at a half, a quarter or an eighth of its size for less than decoding it all, and resizing the
smaller picture costs less again. The view is not quite the one that the model was evaluated on (the mean of four pixels
of the full view), so this is off unless asked for; `sacvit bench --scaled --data` measures what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sacvit_deploy.arrays import Float, Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.images.preprocess import normalise


@dataclass(frozen=True, eq=False)
class Scaled:
    """A picture seen at half size. view: [S/2,S/2,3] uint8; load: decodes [S,S,3] uint8, and raises ImageError."""

    view: Pixels
    load: Callable[[], Pixels]


Picture: TypeAlias = Pixels | Scaled


def whole(picture: Picture) -> Pixels:
    """[S,S,3], decoded now where that was not done before. Raises ImageError."""
    return picture.load() if isinstance(picture, Scaled) else picture


def whole_rows(pictures: Sequence[Picture], rows: Sequence[int]) -> list[Pixels]:
    """The pictures `rows`, those that must be decoded by a thread a core. Raises ImageError."""
    chosen = [pictures[row] for row in rows]
    if sum(isinstance(picture, Scaled) for picture in chosen) < 2:
        return [whole(picture) for picture in chosen]
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="sacvit-decode") as pool:
        return list(pool.map(whole, chosen))


def half_view(picture: Scaled, preprocessing: Preprocessing) -> Float:
    """[3,S/2,S/2] fp32 normalised, as the EE engine takes it."""
    out: Float = np.ascontiguousarray(picture.view.transpose(2, 0, 1), dtype=np.float32)
    normalise(out, preprocessing)
    return out
