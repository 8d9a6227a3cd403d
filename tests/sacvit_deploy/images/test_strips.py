"""Turning and converting in strips: to the last bit what doing it to the whole image at once gives."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images import strips
from sacvit_deploy.images.decode import decoding, load_image
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.images.strips import DecodedImage, fit_decoded

MODES = ("1", "L", "P", "P with key", "P with alphas", "LA", "RGB", "RGB with key", "RGBA", "CMYK", "I;16", "I")
RECIPES = [
    Preprocessing(),
    Preprocessing(interpolation="bilinear", crop=1.0),
    Preprocessing(resize="squash", crop=0.9, resize_rounding="nearest"),
]


def reference(image: Image.Image) -> Image.Image:
    """Turn and convert the whole image in the plain way, as it was done before there were strips."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def noise(kind: str, size: tuple[int, int], seed: int) -> Image.Image:
    """Make an image without any symmetry."""
    mode, rng = kind.partition(" ")[0], np.random.default_rng(seed)
    if mode in ("I;16", "I"):
        values = rng.integers(0, 65536 if mode == "I;16" else 80_000, size[::-1])
        return Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = rng.integers(0, 256, (*size[::-1], channels), np.uint8)
    if mode in ("1", "P"):
        image = Image.fromarray(values[:, :, 0]).convert("1" if mode == "1" else "L")
        if mode == "P":
            image = Image.frombytes("P", size, image.tobytes())
            image.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    else:
        image = Image.frombytes(mode, size, values.tobytes())
    options: dict[str, Any] = {
        "P with key": {"transparency": 7},
        "P with alphas": {"transparency": bytes(range(256))},
        "RGB with key": {"transparency": tuple(values[0, 0].tolist())},
    }
    image.info.update(options.get(kind, {}))
    return image


def with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    """Mark an image, in memory, as stored under an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    return image


@given(
    kind=st.sampled_from(MODES),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    orientation=st.integers(1, 8),
    strip=st.integers(1, 500),
    recipe=st.sampled_from(RECIPES),
    seed=st.integers(0, 9),
)
def test_strips_change_no_bit(
    kind: str, size: tuple[int, int], orientation: int, strip: int, recipe: Preprocessing, seed: int
) -> None:
    image = with_orientation(noise(kind, size, seed), orientation)
    expected = reference(image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strips, "STRIP", strip)
        decoded = DecodedImage(image, "it")
        assert decoded.size == expected.size
        np.testing.assert_array_equal(np.asarray(decoded.whole()), np.asarray(expected))
        np.testing.assert_array_equal(fit_decoded(decoded, 32, recipe), fit(expected, 32, recipe))


@pytest.mark.parametrize(
    ("kind", "size"),
    [("RGBA", (1500, 1400)), ("I;16", (4200, 500)), ("P with alphas", (130, 16_900)), ("RGB", (40_000, 55))],
)
def test_images_of_several_strips(kind: str, size: tuple[int, int]) -> None:
    image = with_orientation(noise(kind, size, 1), 6)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=0, exif=image.info["exif"])
    expected = reference(Image.open(buffer))
    np.testing.assert_array_equal(np.asarray(load_image(buffer.getvalue())), np.asarray(expected))
    for recipe in RECIPES:
        with decoding(buffer.getvalue()) as decoded:
            np.testing.assert_array_equal(fit_decoded(decoded, 224, recipe), fit(expected, 224, recipe))


@pytest.mark.parametrize(("kind", "size"), [("RGBA", (70_001, 9)), ("RGB", (3, 140_000)), ("L", (200_001, 2))])
@pytest.mark.parametrize("orientation", [1, 6])
def test_strips_so_long_that_they_are_averaged(
    kind: str, size: tuple[int, int], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = with_orientation(noise(kind, size, 2), orientation)
    expected = reference(image)
    monkeypatch.setattr(strips, "STRIP", 1000)
    decoded = DecodedImage(image, "it")
    monkeypatch.setattr(DecodedImage, "whole", None)  # no copy of all of it is made
    for recipe in RECIPES[:2] if kind == "L" else RECIPES:
        if not decoded.is_plain:
            np.testing.assert_array_equal(fit_decoded(decoded, 32, recipe), fit(expected, 32, recipe))


def test_an_image_is_turned_once() -> None:
    image = with_orientation(noise("RGB", (30, 20), 0), 6)
    once = load_image(image)
    assert once.size == (20, 30)
    np.testing.assert_array_equal(np.asarray(load_image(once)), np.asarray(once))


def test_floats_are_refused_by_name() -> None:
    with pytest.raises(ImageError, match="it holds floating-point"):
        DecodedImage(Image.new("F", (8, 8)), "it")
