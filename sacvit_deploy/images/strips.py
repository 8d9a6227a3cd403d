"""A decoded image, turned upright and made RGB a strip at a time: whole copies are what takes most memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.preprocess import FILTERS, MAX_SIDE, cut_centre, fit, middle_box, resized_shape, shortening

STRIP = 1 << 20  # pixels that are converted at a time, at least one line
WHITE = (255, 255, 255)
ORIENTATION = 0x0112  # the EXIF tag
Turn = Image.Transpose
# How an image stored under an EXIF orientation is turned to stand upright.
TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
SIDEWAYS = (Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90)
Box = tuple[int, int, int, int]  # left, top, right, bottom


class DecodedImage:
    """A loaded PIL image of any mode as a viewer shows it: upright, RGB, over white. Raises ImageError for floats.

    name: for errors. reduced: whether it was decoded at a fraction of its size. data: its file's bytes, if it
    has one.
    """

    def __init__(self, image: Image.Image, name: str, *, reduced: bool = False, data: bytes = b"") -> None:
        if image.mode == "F":
            raise ImageError(f"{name} holds floating-point values, whose range is not known; convert it to 8 bits")
        self._image, self.name, self.reduced, self.data = image, name, reduced, data
        self._turn: Turn | None = None
        with contextlib.suppress(Exception):  # a broken EXIF block: show the image as it is stored, as viewers do
            self._turn = TURNS.get(image.getexif().get(ORIENTATION, 1))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px, of the upright image."""
        width, height = self._image.size
        return (height, width) if self._turn in SIDEWAYS else (width, height)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is to be turned or converted."""
        return self._turn is None and self._image.mode == "RGB" and "transparency" not in self._image.info

    def rgb(self, box: Box) -> Image.Image:
        """Cut a box out of the upright image, as RGB and without metadata, which would have it turned once more."""
        part = self._image.crop(self._stored(box))
        if self._turn is not None:
            part = part.transpose(self._turn)
        part = flat_rgb(part)
        part.info = {}
        return part

    def whole(self) -> Image.Image:
        """Return all of it as RGB; a plain image is not copied."""
        if self.is_plain:
            return self._image
        width, height = self.size
        if width * height <= STRIP:
            return self.rgb((0, 0, width, height))
        image = Image.new("RGB", self.size)
        for box in strips((0, 0, width, height)):
            image.paste(self.rgb(box), box)
        return image

    def _stored(self, box: Box) -> Box:
        """Find where a box of the upright image lies in the image as it is stored."""
        left, top, right, bottom = box
        turn, (width, height) = self._turn, self._image.size
        if turn in SIDEWAYS:
            left, top, right, bottom = top, left, bottom, right
        if turn in (Turn.FLIP_LEFT_RIGHT, Turn.ROTATE_180, Turn.ROTATE_90, Turn.TRANSVERSE):
            left, right = width - right, width - left
        if turn in (Turn.FLIP_TOP_BOTTOM, Turn.ROTATE_180, Turn.ROTATE_270, Turn.TRANSVERSE):
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


def strips(box: Box) -> Iterator[Box]:
    """Divide a box into strips of full width and about STRIP pixels, from top to bottom."""
    left, top, right, bottom = box
    step = max(1, STRIP // (right - left))
    for at in range(top, bottom, step):
        yield left, at, right, min(at + step, bottom)


def fit_decoded(image: DecodedImage, size: int, preprocessing: Preprocessing) -> Pixels:
    """Do to a decoded image what `fit` does to `image.whole()`, to the last bit: [S,S,3] uint8.

    A line's columns are resized by themselves, so this happens strip by strip.
    """
    width, height = image.size
    squashed = preprocessing.resize == "squash"
    box = (0, 0, width, height) if squashed else middle_box((width, height))
    if width * height <= STRIP or (image.is_plain and box == (0, 0, width, height)):  # else a copy would be cut out
        return fit(image.whole(), size, preprocessing)
    if squashed and max(width, height) > MAX_SIDE:
        return fit(_means(image), size, preprocessing)
    height = box[3] - box[1]
    shape = resized_shape((box[2] - box[0], height), size, preprocessing)
    lines = Image.new("RGB", (shape[0], height))
    for strip in strips(box):
        part = image.rgb(strip).resize((shape[0], strip[3] - strip[1]), FILTERS[preprocessing.interpolation])
        lines.paste(part, (0, strip[1] - box[1]))
    return cut_centre(lines.resize(shape, FILTERS[preprocessing.interpolation]), size)


def _means(image: DecodedImage) -> Image.Image:
    """Make the longer side of an image as short as `fit` makes it, a part along it at a time."""
    (across, down), (left, top, right, bottom) = shortening(image.size)
    out = Image.new("RGB", ((right - left) // across, (bottom - top) // down))
    factor, shorter = max(across, down), min(image.size)
    step = max(1, STRIP // (factor * shorter))  # pixels of the result, along the longer side
    for at in range(0, max(out.size), step):
        end = min(at + step, max(out.size)) * factor
        if across > 1:
            part = image.rgb((left + at * factor, top, left + end, bottom))
        else:
            part = image.rgb((left, top + at * factor, right, top + end))
        out.paste(part.reduce((across, down)), (at, 0) if across > 1 else (0, at))
    return out


def flat_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode but F to RGB: 16 bits become 8, transparency is laid over white."""
    if image.mode.startswith("I"):
        # 16-bit greyscale, which Pillow opens as I;16 or I.
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*WHITE, 255)), image)
    # Converting to the same mode would copy.
    return image if image.mode == "RGB" else image.convert("RGB")
