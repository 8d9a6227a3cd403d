"""Arrays as users have them: what is taken comes out as the same pixels, what could mean two things is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.images.decode import decoding, load_image
from sacvit_deploy.images.pixel_arrays import check_channels, extra_bytes, to_pixels
from sacvit_deploy.images.reading import MAX_BYTES, read_open

COLOURS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
COLOURS[0, :2] = [[0, 0, 0], [255, 255, 255]]


def pixels(source: Any) -> Pixels:
    return np.asarray(load_image(source))


# --- the same pixels


@pytest.mark.parametrize(
    "source",
    [
        COLOURS.transpose(2, 0, 1),
        *((COLOURS / 255).astype(kind) for kind in (np.float16, np.float32, np.float64)),
        (COLOURS / 255).astype(np.float32).transpose(2, 0, 1),
        torch.from_numpy(COLOURS),
        torch.from_numpy(COLOURS).permute(2, 0, 1),
        torch.from_numpy(COLOURS).permute(2, 0, 1) / 255,
    ],
)
def test_what_is_taken(source: Any) -> None:
    np.testing.assert_array_equal(pixels(source), COLOURS)


def test_grey_and_alpha() -> None:
    grey = np.repeat(COLOURS[:, :, :1], 3, axis=2)
    for source in (COLOURS[None, :, :, 0], COLOURS[:, :, 0] / 255, torch.from_numpy(COLOURS[None, :, :, 0])):
        np.testing.assert_array_equal(pixels(source), grey)
    opaque = np.concatenate([COLOURS, np.full((24, 32, 1), 255, np.uint8)], axis=2)
    for source in (opaque, opaque.transpose(2, 0, 1), opaque / 255):
        np.testing.assert_array_equal(pixels(source), COLOURS)


def test_bgr_turns_colours_and_leaves_alpha_and_grey() -> None:
    alpha = COLOURS[:, :, :1]
    turned = COLOURS[:, :, ::-1]
    for array in (turned, turned.transpose(2, 0, 1), turned / 255):
        np.testing.assert_array_equal(to_pixels(array, "bgr"), COLOURS)
    both = np.concatenate([turned, alpha], axis=2)
    np.testing.assert_array_equal(to_pixels(both, "bgr"), np.concatenate([COLOURS, alpha], axis=2))
    np.testing.assert_array_equal(to_pixels(COLOURS[:, :, 0], "bgr"), COLOURS[:, :, 0])
    with decoding(turned, channels="bgr") as image:
        np.testing.assert_array_equal(np.asarray(image.whole()), COLOURS)


def test_the_users_array_stays_as_it_was() -> None:
    array = (COLOURS / 255).astype(np.float32)
    before = array.copy()
    to_pixels(array, "bgr")
    np.testing.assert_array_equal(array, before)


def test_memory_is_counted_for_what_is_converted() -> None:
    assert extra_bytes(COLOURS, "rgb") == COLOURS.size
    assert extra_bytes(COLOURS / 255, "bgr") > extra_bytes(COLOURS / 255, "rgb") > 4 * COLOURS.size


# --- refusals


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (COLOURS.astype(np.float32), ["from 0 to 1, not 0 to 255", "uint8"]),
        ((COLOURS / 255 - 0.5) / 0.25, ["from 0 to 1, not -2 to 2", "do not normalise"]),
        (np.full((8, 8, 3), np.nan), ["from 0 to 1"]),
        (np.zeros((8, 8), bool), ["uint8", "not bool", "* 255"]),
        (np.zeros((8, 8, 3), np.uint16), ["uint8", "not uint16", "0..255"]),
        (np.zeros((8, 8, 3), np.int64), ["uint8", "not int64"]),
        (np.zeros((3, 9, 3), np.uint8), ["[3, 9, 3]", "H x W x C or C x H x W", "PIL.Image.fromarray"]),
        (np.zeros((1, 9, 3), np.uint8), ["H x W x C or C x H x W"]),
        (np.zeros((3, 9, 4), np.float32), ["H x W x C or C x H x W"]),
        (np.zeros((1, 3, 8, 8), np.uint8), ["[1, 3, 8, 8]", "batch", "predict_batch"]),
        (np.zeros((5, 8, 8), np.uint8), ["[5, 8, 8]", "1, 3 or 4"]),
    ],
)
def test_refusals_name_the_remedy(array: Array, words: list[str]) -> None:
    with pytest.raises(ImageError) as raised:
        load_image(array)
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(8, 8, 3, requires_grad=True),
        torch.zeros(8, 8, 3, dtype=torch.bfloat16),
        torch.zeros(8, 8, 3, device="meta"),
    ],
)
def test_tensors_that_numpy_cannot_hold(tensor: torch.Tensor) -> None:
    with pytest.raises(ImageError, match=r"this Tensor .*\.detach\(\)\.cpu\(\)\.float\(\)\.numpy\(\)"):
        load_image(tensor)


@pytest.mark.parametrize("channels", ["RGB", "brg", "", None, 3])
def test_channels_that_are_none(channels: Any) -> None:
    with pytest.raises(UsageError, match="rgb, bgr"):
        check_channels(channels)


# --- open files


def test_an_open_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    file = io.BytesIO(b"before" + b"x" * (3 << 20))
    file.seek(6)
    assert read_open(file, "it") == b"x" * (3 << 20)
    with pytest.raises(ImageError, match=r"it gave no bytes; .*seek\(0\)"):
        read_open(file, "it")
    file.close()
    with pytest.raises(ImageError, match="can't read it: .*closed"):
        read_open(file, "it")
    path = tmp_path / "a.jpg"
    path.write_bytes(b"x")
    with path.open() as text, pytest.raises(ImageError, match="'rb'"):
        read_open(text, "it")  # type: ignore[arg-type]


class Endless:
    """A file that goes on for ever; counts what it gave."""

    given = 0

    def read(self, size: int, /) -> bytes:
        self.given += size
        return bytes(size)


class Impatient:
    def read(self, size: int, /) -> Any:
        return None


@pytest.mark.slow
def test_no_more_is_read_than_a_file_may_have() -> None:
    endless = Endless()
    with pytest.raises(ImageError, match="it is larger than 256 MB"):
        read_open(endless, "it")
    assert endless.given <= MAX_BYTES + (2 << 20)


def test_a_file_that_does_not_wait_for_its_bytes() -> None:
    with pytest.raises(ImageError, match="gave a NoneType, not bytes"):
        read_open(Impatient(), "it")
