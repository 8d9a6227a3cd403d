"""`fit` against torchvision's evaluation recipe, written here from its documentation with Pillow's one `resize`."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.budget import MAX_PIXELS
from sacvit_deploy.images.preprocess import MAX_SIDE, fit, resized_shape, resized_side

RNG = np.random.default_rng(15)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
SIZES = (160, 224, 256, 288, 384)
CROPS = (0.875, 0.9, 0.95, 1.0)
# Pillow 13 resizes rows first where the height shrinks much more than the width; until then it was always columns.
ROWS_FIRST = int(PIL.__version__.split(".")[0]) >= 13
Shape = tuple[int, int]


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth(width: int, height: int) -> Image.Image:
    """A picture with the low contrast between neighbours that photographs have."""
    return noise(9, 9).resize((width, height), Image.Resampling.BICUBIC)


def resize_shortest(shape: Shape, size: int, crop: float) -> Shape:
    """Resize(int(S / crop)): the shorter side becomes that, the longer one follows."""
    width, height = shape
    target = int(size / crop)
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def recipe(image: Image.Image, shape: Shape, size: int, interpolation: str = "bicubic") -> npt.NDArray[np.uint8]:
    """Resize to the shape in one call, then CenterCrop(S)."""
    if image.size != shape:
        image = image.resize(shape, FILTERS[interpolation])
    top = round((image.height - size) / 2.0)
    left = round((image.width - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def columns_first(image: Image.Image, shape: Shape, size: int) -> npt.NDArray[np.uint8]:
    """Do the same in the order that Pillow had before version 13."""
    return recipe(image.resize((shape[0], image.height), FILTERS["bicubic"]), shape, size)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_the_recipes(size: int, crop: float, interpolation: Literal["bicubic", "bilinear"]) -> None:
    side = int(size / crop)
    shapes = (
        (500, 375),
        (375, 500),
        (256, 256),
        (side, side),
        (side, side + 31),
        (side + 1, side),
        (400, 37),
        (60, 113),
    )
    for shape in shapes:
        image = noise(*shape)
        expected = recipe(image, resize_shortest(shape, size, crop), size, interpolation)
        np.testing.assert_array_equal(fit(image, size, Preprocessing(interpolation, crop)), expected, str(shape))


@pytest.mark.parametrize("shape", [(375, 800), (300, 1000), (333, 668)])
def test_a_tall_pictures_pixels_are_those_of_pillow_before_13(shape: Shape) -> None:
    for picture, allowed in ((noise(*shape), 255), (smooth(*shape), 2)):
        to = resize_shortest(shape, 224, 0.875)
        found = fit(picture, 224, Preprocessing())
        np.testing.assert_array_equal(found, columns_first(picture, to, 224))
        np.testing.assert_allclose(found, recipe(picture, to, 224).astype(int), atol=allowed if ROWS_FIRST else 0)


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", SIZES)
def test_squashed_pixels_are_the_recipes(size: int, crop: float) -> None:
    """timm's crop mode `squash`; with crop 1.0 what the image processor of transformers' ViT does."""
    side = int(size / crop)
    squash = Preprocessing(crop=crop, resize="squash")
    for shape in ((500, 375), (1000, 40), (side, side), (2000, 100), (side, side - 9), (90, 60)):
        image = noise(*shape)
        np.testing.assert_array_equal(fit(image, size, squash), recipe(image, (side, side), size), str(shape))
    for shape in ((375, 500), (40, 1000)):
        image = noise(*shape)
        np.testing.assert_array_equal(fit(image, size, squash), columns_first(image, (side, side), size), str(shape))
        if not ROWS_FIRST:
            np.testing.assert_array_equal(fit(image, size, squash), recipe(image, (side, side), size), str(shape))


@pytest.mark.parametrize(
    ("size", "crop", "floor", "nearest"),
    [
        (160, 0.875, 182, 183),
        (224, 0.875, 256, 256),
        (256, 0.875, 292, 293),
        (288, 0.875, 329, 329),
        (384, 0.875, 438, 439),
        (224, 0.9, 248, 249),
        (288, 0.9, 320, 320),
        (224, 0.95, 235, 236),
        (224, 0.965, 232, 232),
        (224, 1.0, 224, 224),
    ],
)
def test_both_ways_of_rounding(size: int, crop: float, floor: int, nearest: int) -> None:
    assert resized_side(size, Preprocessing(crop=crop)) == floor
    assert resized_side(size, Preprocessing(crop=crop, resize_rounding="nearest")) == nearest
    image = noise(500, 375)
    fitted = fit(image, size, Preprocessing(crop=crop, resize_rounding="nearest"))
    expected = recipe(image, (int(nearest * 500 / 375), nearest), size)
    np.testing.assert_array_equal(fitted, expected)


@given(side=st.integers(1, 4096), short=st.integers(1, 10_000), more=st.integers(0, MAX_PIXELS))
def test_the_longer_side_is_torchvisions_float_division_for_every_length(side: int, short: int, more: int) -> None:
    long = short + more
    at = Preprocessing(crop=1.0)
    assert resized_shape((short, long), side, at) == (side, int(side * long / short))
    assert resized_shape((long, short), side, at) == (int(side * long / short), side)


def test_squashing_shows_the_whole_picture() -> None:
    ends = np.full((10, 400, 3), 128, np.uint8)
    ends[:, :100], ends[:, 300:] = 0, 255
    for image, turn in ((Image.fromarray(ends), False), (Image.fromarray(ends.transpose(1, 0, 2)), True)):
        shown = fit(image, 224, Preprocessing(crop=1.0, resize="squash"))
        row = shown[:, 112] if turn else shown[112]
        assert row[:50].max() == 0 and row[-50:].min() == 255
        cut = fit(image, 224, Preprocessing(crop=1.0))
        assert (cut == 128).all()


@pytest.mark.parametrize("shape", [(1, 4_000_000), (4_000_000, 1), (MAX_SIDE + 1, 300), (300, MAX_SIDE + 1)])
def test_squashing_a_strip_takes_neither_time_nor_memory(shape: Shape) -> None:
    # Columns first, the tallest of them would have 256 x 4,000,000 pixels between the passes: four gigabytes.
    image = Image.new("RGB", shape, (10, 200, 30))
    start = time.thread_time()
    fitted = fit(image, 224, Preprocessing(resize="squash"))
    assert time.thread_time() - start < 2
    assert fitted.shape == (224, 224, 3)
    assert (fitted == (10, 200, 30)).all()


@pytest.mark.parametrize("length", [MAX_SIDE, MAX_SIDE + 1, 200_001])
@pytest.mark.parametrize("upright", [False, True])
def test_a_squashed_strip_is_the_mean_of_what_it_covers(length: int, upright: bool) -> None:
    strip = RNG.integers(0, 256, (length, 3)).astype(np.uint8)
    strip[: length // 2] //= 4  # so that a part of the wrong place is seen
    image = Image.fromarray(strip[:, None] if upright else strip[None])
    shown = fit(image, 32, Preprocessing("bilinear", 1.0, resize="squash"))
    line = shown[:, 0] if upright else shown[0]
    # The filter's triangle: two output pixels wide.
    at = (np.arange(length) + 0.5) * 32 / length - 0.5
    weights = np.maximum(1 - np.abs(at[None] - np.arange(32)[:, None]), 0)
    np.testing.assert_allclose(line, weights @ strip / weights.sum(axis=1, keepdims=True), atol=1.5)
