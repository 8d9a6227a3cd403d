"""Page-locked memory that images are decoded into, so that a batch goes up from where it lies."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.stages.context import BYTE, ExecutionContext


class ImageBlocks:
    """Blocks of a batch's rows, used in turn. Copying 150 kB an image is most of what one costs the host otherwise."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._found: dict[int, tuple[Pixels, Sequence[Pixels], int]] = {}  # by a row's id: its block, all rows, number

    def places(self, batch: int, blocks: int) -> Iterator[Pixels]:
        """Yield rows [S,S,3] in order, of so many blocks of `batch` rows, for ever.

        A row comes again `blocks` batches later, when whoever fills it must be done with what was there.
        """
        made: list[Sequence[Pixels]] = []
        while True:
            for number in range(blocks):
                if number == len(made):
                    made.append(self._make(number, batch))
                yield from made[number]

    def _make(self, number: int, batch: int) -> Sequence[Pixels]:
        side = self._context.config.geometry.image_size
        with self._context.engine_set:  # which makes the device this thread's
            block: Pixels = self._context.pinned(f"block {number}", (batch, side, side, 3), BYTE)
        rows = list(block)
        self._found |= {id(row): (block, rows, at) for at, row in enumerate(rows)}
        return rows

    def find(self, images: Sequence[InputImage], rows: int) -> Pixels | None:
        """Return the images as one array [rows,S,S,3], if they are `rows` neighbours in a block."""
        if len(images) != rows or id(images[0]) not in self._found:
            return None
        block, neighbours, first = self._found[id(images[0])]
        last = first + rows
        # An image that could not be decoded leaves a hole.
        if last > len(neighbours) or not all(map(operator.is_, images, neighbours[first:last])):
            return None
        return block[first:last]
