"""What YUV images of made-up values are in RGB, computed in numpy, for the C++ runtime's camera formats.

`python tests/golden/yuv.py` writes `yuv.json` beside it. Run it only after a change that is meant.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

GOLDEN = Path(__file__).with_name("yuv.json")
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}  # Kr, Kb of ITU-R BT.601 and BT.709
COLORS = ("bt601", "bt601_full", "bt709", "bt709_full")
SIZES = ((8, 6), (7, 4), (8, 5), (7, 5), (1, 1), (2, 2), (66, 48))
Bytes = npt.NDArray[np.uint8]


def made_up(width: int, height: int, channels: int) -> Bytes:
    """[height, width, channels] values that both languages compute alike, as in arithmetic.py."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels].astype(np.uint64)
    mixed = (x * 2654435761 + y * 40503 + c * 69069 + x * y * 97) % 4294967296
    values: Bytes = ((mixed ^ (mixed >> 15)) % 256).astype(np.uint8)
    return values


def matrix(colors: str) -> tuple[int, npt.NDArray[np.float64]]:
    """Return the value of black, and the matrix [3,3] from (Y - black, U - 128, V - 128) to (R, G, B)."""
    kr, kb = LUMA[colors.partition("_")[0]]
    kg, red, blue = 1 - kr - kb, 2 * (1 - kr), 2 * (1 - kb)
    limited = "full" not in colors
    y, c = (255 / 219, 255 / 224) if limited else (1.0, 1.0)
    rows = [[y, 0, c * red], [y, -c * blue * kb / kg, -c * red * kr / kg], [y, c * blue, 0]]
    return 16 if limited else 0, np.array(rows)


def to_rgb(yuv: Bytes, colors: str) -> Bytes:
    """[...,3] Y, U and V of each pixel -> [...,3] RGB, in 65536ths, rounded to the nearest, halves up."""
    black, factors = matrix(colors)
    values = yuv.astype(np.int64) - np.array([black, 128, 128])
    mixed = values @ np.round(65536 * factors).astype(np.int64).T
    rgb: Bytes = np.clip((mixed + 32768) >> 16, 0, 255).astype(np.uint8)
    return rgb


def compute() -> list[dict[str, Any]]:
    """Everything in the file: hashes of the RGB images [height, width, 3].

    Luma is made_up(width, height, 1); U and V are made_up(ceil(width / 2), rows, 2), where 4:2:0 has ceil(height / 2)
    rows and yuyv `height`. A pixel has its block's chroma.
    """
    entries = []
    for width, height in SIZES:
        for format in ("nv12", "i420", "yuyv"):
            across = np.arange(width) // 2
            down = np.arange(height) // (1 if format == "yuyv" else 2)
            chroma = made_up(across[-1] + 1, down[-1] + 1, 2)[down[:, None], across]
            yuv = np.concatenate([made_up(width, height, 1), chroma], axis=2)
            for colors in COLORS:
                digest = hashlib.sha256(to_rgb(yuv, colors).tobytes()).hexdigest()
                entries.append({"width": width, "height": height, "format": format, "colors": colors, "sha256": digest})
    return entries


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(compute(), indent=None, separators=(",", ":")).replace("},{", "},\n{") + "\n")
