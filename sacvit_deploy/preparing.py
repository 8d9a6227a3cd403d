"""From one source to the item that enters stage 1; whatever goes wrong with an image is that image's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.nvimgcodec.device_jpegs import BATCH, DeviceJpegs
from sacvit_deploy.clock import Clock
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError, ImageError
from sacvit_deploy.images.budget import Limits
from sacvit_deploy.images.decode import ImageSource, decoding, file_bytes, image_error
from sacvit_deploy.images.pixel_arrays import Channels
from sacvit_deploy.images.preprocess import resized_side
from sacvit_deploy.images.scaled import ScaledImage
from sacvit_deploy.images.sources import AnySource, Claimed, name_of
from sacvit_deploy.images.strips import fit_decoded
from sacvit_deploy.item import Item
from sacvit_deploy.ranges import in_range

S = TypeVar("S")


@dataclass(frozen=True)
class Preparer:
    """Makes items for a model; its methods raise nothing of class Exception, MemoryError included.

    jpegs: decodes most JPEGs on a GPU; None where the processor decodes them all.
    """

    config: ModelConfig
    bounds: Limits
    jpegs: DeviceJpegs | None = None

    @property
    def workers(self) -> int:
        """Threads that prepare images: one for each core, or as many as may wait for the GPU."""
        return usable_cores() if self.jpegs is None else max(usable_cores(), BATCH)

    def full(self, source: AnySource, channels: Channels = "rgb") -> Item:
        """Decode an image and fit it to [S,S,3]. channels: the order of an array's."""
        return self._guarded(source, None, channels)

    def scaled(self, source: AnySource, channels: Channels = "rgb") -> Item:
        """Decode a JPEG that is large enough at a fraction of its size, for stage 1 alone; else as `full`."""
        min_side = resized_side(self.config.geometry.image_size // 2, self.config.preprocessing)
        return self._guarded(source, min_side, channels)

    @in_range("decode")
    def _guarded(self, source: AnySource, min_side: int | None, channels: Channels) -> Item:
        name = name_of(source)
        try:
            if isinstance(source, Claimed):
                if source.error is not None:
                    return Item(name, None, source.error)
                if source.source is None:
                    raise ImageError(f"{name}: there is no image, it is None or null")
                source = source.source
            return self._prepared(source, name, min_side, channels)
        except Exception as error:
            return Item(name, None, image_error(name, error))

    def _prepared(self, source: ImageSource, name: str, min_side: int | None, channels: Channels) -> Item:
        size, recipe, clock = self.config.geometry.image_size, self.config.preprocessing, Clock()
        if self.jpegs is not None and min_side is None and (data := file_bytes(source, name)) is not None:
            source, memory = data, self.bounds.memory
            with memory.reserve(min(len(data), memory.each)):
                try:
                    fitted = self.jpegs.fit(data, self.bounds.pixels)
                except BackendError as error:
                    raise BackendError(f"{name}: {error}") from error
            if fitted is not None:
                return Item(name, fitted, timing={"decode": clock.lap()})
        with decoding(source, name, self.bounds, min_side=min_side, channels=channels) as image:
            timing = {"decode": clock.lap()}
            pixels = fit_decoded(image, size // 2 if image.reduced else size, recipe)
        timing["preprocess"] = clock.lap()
        if not image.reduced:
            return Item(name, pixels, timing=timing)
        load = partial(self._late, image.data, name)
        return Item(name, None, timing=timing, scaled=ScaledImage(pixels, load, name))

    def _late(self, data: bytes, name: str) -> Pixels:
        with decoding(data, name, self.bounds) as image:
            return fit_decoded(image, self.config.geometry.image_size, self.config.preprocessing)


@dataclass(frozen=True)
class PlacedPreparer(Generic[S]):
    """Prepares images in other threads into memory that the stages gave for them.

    claim_source, prepare_source: what is done with a source as it is taken, and then in another thread. places: memory
    in the order in which sources are taken.
    """

    claim_source: Callable[[S], tuple[S, int]]
    prepare_source: Callable[[S], Item]
    places: Iterator[Pixels]

    def claim(self, source: S) -> tuple[tuple[S, Pixels], int]:
        """Take a source, and a place for it; the bytes are those of the source's copy."""
        claimed, size = self.claim_source(source)
        return (claimed, next(self.places)), size

    def prepare(self, taken: tuple[S, Pixels]) -> Item:
        """Make the item of a source, with its pixels in its place."""
        source, place = taken
        item = self.prepare_source(source)
        if item.pixels is not None:
            place[:] = item.pixels
            item.pixels = place
        return item
