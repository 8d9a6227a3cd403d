"""Generated backgrounds and shapes: soft clouds, stripes, checks and confetti, in random colours.

They add variety behind the objects, need no licence, and follow from the random generator alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


def random_colour(rng: np.random.Generator) -> Colour:
    """Return a random RGB colour."""
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def clouds(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Sum colour noise of several grain sizes: [height,width,3] uint8."""
    total = np.zeros((height, width, 3), np.float32)
    for cells in (3, 7, 17, 40):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        grain = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(grain, np.float32) * rng.uniform(0.1, 1.0) / np.sqrt(cells)
    total -= total.min()
    low, high = sorted(rng.uniform(0, 255, 2))
    scaled: NDArray[np.uint8] = (low + total / max(float(total.max()), 1.0) * (high - low)).astype(np.uint8)
    return scaled


def pattern(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw slanted stripes or checks of two colours: [height,width,3] uint8."""
    angle = rng.uniform(0, np.pi)
    period = rng.uniform(0.03, 0.25) * min(width, height)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    along = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    across = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    wave = along * across if rng.random() < 0.5 else along
    mix = np.clip(wave * rng.uniform(0.5, 4) + 0.5, 0, 1)[..., None]
    first, second = (np.asarray(random_colour(rng), np.float64) for _ in range(2))
    mixed: NDArray[np.uint8] = (first * mix + second * (1 - mix)).astype(np.uint8)
    return mixed


def generated(width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a background of clouds or of a pattern: [height,width,3] uint8."""
    painter = clouds if rng.random() < 0.6 else pattern
    return painter(width, height, rng)


def add_shapes(image: Image.Image, count: int, rng: np.random.Generator) -> None:
    """Draw `count` ellipses, boxes, lines and triangles on an RGB image, in place."""
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    for _ in range(count):
        kind = rng.integers(4)
        x, y = rng.uniform(-0.1, 1.1, 2) * image.size
        w, h = rng.uniform(0.02, 0.22, 2) * side
        colour = random_colour(rng)
        if kind == 0:
            draw.ellipse((x, y, x + w, y + h), fill=colour)
        elif kind == 1:
            draw.rectangle((x, y, x + w, y + h), fill=colour)
        elif kind == 2:
            x2, y2 = rng.uniform(-0.1, 1.1, 2) * image.size
            draw.line((x, y, x2, y2), fill=colour, width=max(1, round(side * float(rng.uniform(0.005, 0.03)))))
        else:
            dx, dy = rng.uniform(-0.2, 0.2, 2) * side
            draw.polygon([(x, y), (x + w, y + h), (x + dx, y + dy)], fill=colour)
