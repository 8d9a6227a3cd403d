"""Making real videos for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.sources import video
from tests.web_servers import pictures

RATE = 25
SIZE = (160, 120)


def need_av() -> Any:
    """PyAV, or a skip that says what was not tested."""
    return pytest.importorskip("av", reason="NOT TESTED: PyAV is not installed (extra [video])")


def break_conversion(monkeypatch: pytest.MonkeyPatch, at: int) -> list[int]:
    """Let the conversion of a frame to pixels fail as FFmpeg's does, the `at`th one, and return a list of all of them.

    No file is known that does this to FFmpeg in its middle, so the last step of the conversion does.
    """
    av, upright, calls = need_av(), video.upright, list[int]()

    def fail(pixels: Pixels, rotation: int) -> Pixels:
        calls.append(len(calls))
        if calls[-1] == at:
            raise av.error.ArgumentError(22, "Invalid argument")
        return upright(pixels, rotation)

    monkeypatch.setattr(video, "upright", fail)
    return calls


def stills(count: int) -> list[Image.Image]:
    """Photographs of one size, again and again."""
    images = [Image.open(path).convert("RGB").resize(SIZE) for path in pictures()[:8]]
    return [images[number % len(images)] for number in range(count)]


def write_video(
    path: Path, images: list[Image.Image], codec: str = "libx264", rotation: int = 0, **options: str
) -> Path:
    """Write a video, one key frame in ten, without reordering, so that damage stays where it is."""
    av = need_av()
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": "10", "bf": "0"})
        stream.width, stream.height = images[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode(None))
    if rotation:
        turn(path, rotation)
    return path


def turn(path: Path, degrees: int) -> None:
    """Give an MP4 a display matrix, as phones do: clockwise, by quarter turns."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][degrees // 90 % 4]
    matrix = np.array([cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30], dtype=">i4").tobytes()
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # after version, flags, times, track, duration, layer, group and volume
    assert data[at : at + 4] == (1 << 16).to_bytes(4, "big")
    data[at : at + 36] = matrix
    path.write_bytes(data)
