"""Resize, crop, half-size view and normalisation, against torch and against the recipe spelled out."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.preprocess import fit, low_view, normalise

RECIPE = Preprocessing()
RNG = np.random.default_rng(11)


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def normalised(images: npt.NDArray[np.uint8], recipe: Preprocessing) -> torch.Tensor:
    """[B,S,S,3] -> [B,3,S,S], as the definition says, in fp64."""
    mean, std = torch.tensor(recipe.mean, dtype=torch.float64), torch.tensor(recipe.std, dtype=torch.float64)
    return ((torch.from_numpy(images).double() / 255 - mean) / std).permute(0, 3, 1, 2)


@pytest.mark.parametrize("size", [224, 288, 8])
def test_area_view_is_the_mean_of_the_normalised_image(size: int) -> None:
    images = noise(2, size, size, 3)
    expected = F.avg_pool2d(normalised(images, RECIPE), 2)
    view = low_view(images, "area", RECIPE)
    assert view.dtype == np.float32
    assert view.flags.c_contiguous
    np.testing.assert_allclose(view, expected.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [224, 288, 8])
def test_bilinear_view_aligns_corners(size: int) -> None:
    images = noise(2, size, size, 3)
    shape = (size // 2, size // 2)
    expected = F.interpolate(normalised(images, RECIPE), size=shape, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(low_view(images, "bilinear_corners", RECIPE), expected.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("downsample", ["area", "bilinear_corners"])
def test_view_of_extreme_images_does_not_overflow(downsample: str) -> None:
    recipe = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    white = np.full((1, 8, 8, 3), 255, dtype=np.uint8)
    np.testing.assert_allclose(low_view(white, downsample, recipe), 1.0, atol=1e-6)
    np.testing.assert_allclose(low_view(white * 0, downsample, recipe), 0.0, atol=1e-6)


def test_normalise_against_the_definition() -> None:
    recipe = Preprocessing(mean=(0.1, 0.5, 0.9), std=(0.2, 1.0, 3.0))
    images = noise(2, 4, 4, 3)
    values = np.array(images.transpose(0, 3, 1, 2), np.float32)
    normalise(values, recipe)
    np.testing.assert_allclose(values, normalised(images, recipe).numpy(), atol=1e-5)


# --- fit


def recipe_by_hand(image: Image.Image, size: int, recipe: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize to S / crop, rounded as the recipe says, and CenterCrop(S) on a PIL image, restated."""
    target = math.floor(size / recipe.crop) if recipe.resize_rounding == "floor" else round(size / recipe.crop)
    width, height = image.size
    short, long = min(width, height), max(width, height)
    if short != target:
        new_long = int(target * long / short)
        shape = (target, new_long) if width <= height else (new_long, target)
        filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
        # Columns first: in one call the order, and with it last bits, would depend on Pillow's version.
        for step in ((shape[0], image.height), shape):
            image = image.resize(step, filters[recipe.interpolation])
    top, left = round((image.height - size) / 2.0), round((image.width - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    crop=st.sampled_from([0.875, 0.9, 1.0, 0.5]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    rounding=st.sampled_from(["floor", "nearest"]),
)
def test_fit_is_the_evaluation_recipe(width: int, height: int, crop: float, interpolation: str, rounding: str) -> None:
    recipe = Preprocessing(interpolation, crop, resize_rounding=rounding)  # type: ignore[arg-type]
    if max(width, height) > 16 * min(width, height):  # strips have their own test
        height = width
    image = Image.fromarray(noise(height, width, 3))
    np.testing.assert_array_equal(fit(image, 32, recipe), recipe_by_hand(image, 32, recipe))


@pytest.mark.parametrize(("width", "height"), [(256, 256), (500, 333), (333, 500), (1000, 257), (100, 90), (255, 256)])
def test_fit_at_the_usual_size(width: int, height: int) -> None:
    image = Image.fromarray(noise(height, width, 3))
    fitted = fit(image, 224, RECIPE)
    assert fitted.shape == (224, 224, 3)
    assert fitted.dtype == np.uint8
    np.testing.assert_array_equal(fitted, recipe_by_hand(image, 224, RECIPE))


def test_fit_resamples_nothing_when_sizes_agree() -> None:
    pixels = noise(256, 300, 3)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 224, RECIPE), pixels[16:240, 38:262])
    pixels = noise(224, 224, 3)
    np.testing.assert_array_equal(fit(Image.fromarray(pixels), 224, Preprocessing(crop=1.0)), pixels)


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (1, 5001), (2, 4999), (3, 100), (40, 2000)])
def test_fit_of_a_strip_is_what_the_whole_strip_would_give(width: int, height: int) -> None:
    # A smooth strip and a small size, so that the recipe by hand stays affordable.
    ramp = np.linspace(0, 255, max(width, height))[:, None].repeat(min(width, height), axis=1)
    values = (ramp if height > width else ramp.T).astype(np.uint8)
    image = Image.fromarray(np.stack([values, 255 - values, values // 2], axis=2))
    fitted = fit(image, 32, RECIPE).astype(int)
    np.testing.assert_allclose(fitted, recipe_by_hand(image, 32, RECIPE).astype(int), atol=1)


def test_fit_of_a_sharp_strip_keeps_its_centre() -> None:
    pixels = noise(2001, 2, 3)
    image = Image.fromarray(pixels)
    np.testing.assert_allclose(fit(image, 32, RECIPE).astype(int), recipe_by_hand(image, 32, RECIPE), atol=1)


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1)])
def test_fit_of_an_extreme_strip_takes_neither_time_nor_memory(shape: tuple[int, int]) -> None:
    # Resized whole, it would have 256 x 2,304,000 pixels: more than two gigabytes.
    image = Image.new("RGB", shape, (10, 200, 30))
    start = time.thread_time()
    fitted = fit(image, 224, RECIPE)
    assert time.thread_time() - start < 2
    assert fitted.shape == (224, 224, 3)
    assert (fitted == (10, 200, 30)).all()


def test_fit_of_a_single_pixel() -> None:
    fitted = fit(Image.new("RGB", (1, 1), (1, 2, 3)), 224, RECIPE)
    assert (fitted == (1, 2, 3)).all()
