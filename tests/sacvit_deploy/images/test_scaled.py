"""Scaled decoding: the same images, seen from fewer samples until they continue."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sacvit_deploy import ImageError, Prediction, SACViT
from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.decode import decoding, load_image
from sacvit_deploy.images.preprocess import low_view
from sacvit_deploy.images.scaled import full_image, half_view


@pytest.fixture(scope="module")
def large(image_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The photographs as JPEGs of 900x600."""
    folder = tmp_path_factory.mktemp("large")
    paths = []
    for path in image_paths:
        image = Image.open(path).resize((900, 600), Image.Resampling.BICUBIC)
        paths.append(folder / path.name)
        image.save(paths[-1], quality=92)
    return paths


@pytest.fixture(scope="module")
def scaled(tiny_bundle: Path) -> SACViT:
    return SACViT(tiny_bundle, precision="fp32", threads=1, scaled=True)


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((640, 480), 128, (320, 240)),
        ((640, 480), 120, (160, 120)),
        ((4000, 3000), 128, (500, 375)),
        ((300, 255), 128, None),
        ((256, 256), 128, (128, 128)),
    ],
)
def test_the_scale_leaves_enough_pixels(size: tuple[int, int], min_side: int, expected: tuple[int, int] | None) -> None:
    with decoding(encode(Image.new("RGB", size, (200, 30, 90))), min_side=min_side) as image:
        assert (image.reduced, image.size) == (expected is not None, expected or size)


def test_other_formats_are_not_scaled() -> None:
    with decoding(encode(Image.new("RGB", (640, 480)), "PNG"), min_side=128) as image:
        assert (image.reduced, image.size) == (False, (640, 480))


def test_rotation_is_applied_to_scaled_images() -> None:
    image = Image.new("RGB", (640, 480), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 320, 480))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    data = encode(image, exif=exif.tobytes())
    with decoding(data, min_side=128) as image:
        assert (image.reduced, image.size) == (True, (240, 320))
        reduced = image.whole()
    small, full = np.asarray(reduced)[::40, ::40, 0], np.asarray(load_image(data))[::80, ::80, 0]
    np.testing.assert_allclose(small.astype(int), full.astype(int), atol=3)


def test_the_view_is_nearly_that_of_the_whole_image(scaled: SACViT, large: list[Path]) -> None:
    recipe = scaled.config.preprocessing
    for path in large:
        item = scaled.prepare_scaled(path)
        assert item.pixels is None
        assert item.scaled is not None
        exact = scaled.prepare(path).pixels
        assert exact is not None
        np.testing.assert_array_equal(full_image(item.scaled), exact)
        view, expected = half_view(item.scaled, recipe), low_view([exact], "area", recipe)[0]
        assert view.shape == expected.shape
        # Neither is the truth; they differ far less than from the image out of focus, or one pixel aside.
        blurred = Image.fromarray(exact).filter(ImageFilter.GaussianBlur(2))
        vague = low_view([np.asarray(blurred)], "area", recipe)[0]
        assert np.abs(view - expected).mean() < 0.5 * np.abs(vague - expected).mean()
        moved = np.roll(expected, 1, axis=2)
        assert np.abs(view - expected).mean() < 0.5 * np.abs(moved - expected).mean()


@pytest.mark.parametrize(
    ("recipe", "shape", "is_scaled"),
    [
        # 112 / 0.89 is 125.8.
        (Preprocessing(crop=0.89), (250, 250), True),
        (Preprocessing(crop=0.89, resize_rounding="nearest"), (250, 250), False),
        (Preprocessing(crop=0.875, resize="squash"), (800, 256), True),
        (Preprocessing(crop=0.875, resize="squash"), (800, 254), False),
    ],
)
def test_scaled_decoding_leaves_the_pixels_that_the_recipe_asks_for(
    bundle_copy: Path,
    edit_manifest: Callable[[Path, Callable[[Manifest], Manifest]], None],
    recipe: Preprocessing,
    shape: tuple[int, int],
    is_scaled: bool,
) -> None:
    edit_manifest(bundle_copy, lambda m: replace(m, config=replace(m.config, preprocessing=recipe)))
    item = SACViT(bundle_copy, precision="fp32", threads=1, scaled=True).prepare_scaled(encode(Image.new("RGB", shape)))
    assert (item.scaled is not None) == is_scaled
    if item.scaled is not None:
        assert item.scaled.view.shape == (112, 112, 3)


def test_answers_of_images_that_continue_use_the_whole_image(scaled: SACViT, model: SACViT, large: list[Path]) -> None:
    for batch in (1, 3):
        answers = list(scaled.stream(large, batch_size=batch, eta=1.0))
        exact = list(model.stream(large, batch_size=batch, eta=1.0))
        same = 0
        for one, other in zip(answers, exact, strict=True):
            assert isinstance(one, Prediction)
            assert isinstance(other, Prediction)
            assert (one.stage, one.source) == (2, other.source)
            assert {"decode", "preprocess", "view", "ee", "gather", "sac"} <= set(one.timing)
            same += one.index == other.index
        assert same >= 6  # of 7; random weights are quick to change their mind


def test_small_images_and_arrays_go_the_usual_way(scaled: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    sources = [image_paths[0], np.asarray(Image.open(image_paths[1])), image_paths[2].read_bytes()]
    for source in sources:
        item = scaled.prepare_scaled(source)
        assert item.scaled is None
        np.testing.assert_array_equal(item.pixels, model.prepare(source).pixels)
        assert item.source == model.prepare(source).source


def test_bad_images_give_their_error_in_their_place(scaled: SACViT, large: list[Path], tmp_path: Path) -> None:
    whole_file = large[0].read_bytes()
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    cut.write_bytes(whole_file[: len(whole_file) // 2])
    text.write_text("no image")
    answers = list(scaled.stream([large[0], cut, text, tmp_path / "none.jpg", large[1]], batch_size=2, eta=1.0))
    assert [isinstance(one, Prediction) for one in answers] == [True, False, False, False, True]
    for one, path in zip(answers[1:4], (cut, text, tmp_path / "none.jpg"), strict=True):
        assert isinstance(one, ImageError)
        assert str(path) in str(one)
