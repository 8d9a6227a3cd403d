"""The weights of `fit`: Pillow's own, and the same pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.preprocess import FILTERS, fit
from sacvit_deploy.images.resize_weights import BITS, EXACT, HALF, FitWeights, fit_weights, resize_weights
from sacvit_deploy.images.strips import SIDEWAYS, TURNS

RECIPE = Preprocessing()


@pytest.mark.parametrize("interpolation", FILTERS)
def test_they_are_pillows(interpolation: str) -> None:
    """Pillow resizes whole numbers without rounding its weights first, so a one in a line of zeros shows them."""
    random = np.random.default_rng(0)
    lengths = [1, 2, 3, 223, 224, 225, 448, *random.integers(1, 1000, 40).tolist()]
    for length in lengths:
        target = int(random.integers(1, 400))
        ones = Image.fromarray((np.eye(length, dtype=np.int64) << BITS).astype(np.int32))
        expected = np.asarray(ones.resize((target, length), FILTERS[interpolation])).T
        np.testing.assert_array_equal(resize_weights(length, target, interpolation, 0, target), expected)
        middle = resize_weights(length, target, interpolation, target // 3, target - target // 3)
        np.testing.assert_array_equal(middle, expected[target // 3 :])


def apply(weights: FitWeights, pixels: Pixels, sideways: bool) -> Pixels:
    """Resize with whole numbers, of which single precision would lose none."""
    planes = pixels.transpose(2, 1, 0) if sideways else pixels.transpose(2, 0, 1)
    halves = [np.asarray(half, np.int64) for half in dataclasses.astuple(weights)]
    across, down = ((high << HALF) + low for high, low in (halves[:2], halves[2:]))
    assert all(255 * np.abs(half).sum(axis=axis).max() < EXACT for half, axis in zip(halves, (0, 0, 1, 1), strict=True))
    values = planes.astype(np.int64)
    values = ((values @ across + (1 << BITS - 1)) >> BITS).clip(0, 255)
    values = ((down @ values + (1 << BITS - 1)) >> BITS).clip(0, 255)
    return values.astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        dataclasses.replace(RECIPE, interpolation="bilinear", crop=1.0),
        dataclasses.replace(RECIPE, crop=0.9, resize_rounding="floor"),
        dataclasses.replace(RECIPE, resize="squash"),
    ],
    ids=str,
)
def test_they_do_what_fit_does(recipe: Preprocessing) -> None:
    random = np.random.default_rng(1)
    shapes = [(1, 1), (32, 32), (31, 400), (400, 30), (57, 64), (64, 57), (600, 420)]
    for (width, height), turn in zip(shapes * 2, (None, *TURNS.values(), *TURNS.values()), strict=False):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        upright = Image.fromarray(pixels)
        upright = upright if turn is None else upright.transpose(turn)
        weights = fit_weights((width, height), turn, 32, recipe)
        assert weights is not None
        np.testing.assert_array_equal(apply(weights, pixels, turn in SIDEWAYS), fit(upright, 32, recipe))


@pytest.mark.parametrize("interpolation", FILTERS)
def test_small_images_without_a_crop(interpolation: str) -> None:
    """A bicubic filter that reaches over the edge has a weight above one there, which both halves must hold."""
    random, recipe = np.random.default_rng(2), dataclasses.replace(RECIPE, interpolation=interpolation, crop=1.0)
    above = 0
    for side in range(1, 40):
        pixels = 255 * random.integers(0, 2, (side, side, 3), dtype=np.uint8)
        weights = fit_weights((side, side), None, 32, recipe)
        assert weights is not None
        expected = resize_weights(side, 32, interpolation, 0, 32)
        high, low = (half.astype(np.int64) for half in (weights.down_high, weights.down_low))
        np.testing.assert_array_equal((high << HALF) + low, expected)
        np.testing.assert_array_equal(weights.across_high, weights.down_high.T)
        np.testing.assert_array_equal(weights.across_low, weights.down_low.T)
        np.testing.assert_array_equal(apply(weights, pixels, False), fit(Image.fromarray(pixels), 32, recipe))
        above += expected.max() > 1 << BITS
    assert above == (0 if interpolation == "bilinear" else 30)


def test_what_is_left_to_pillow() -> None:
    assert fit_weights((3300, 200), None, 32, RECIPE) is None  # its ends are cut off first
    assert fit_weights((3300, 3200), None, 32, RECIPE) is None  # sums of a hundred pixels
    assert fit_weights((66_000, 66_000), None, 32, dataclasses.replace(RECIPE, resize="squash")) is None
    assert fit_weights((4000, 3000), None, 224, RECIPE) is not None
