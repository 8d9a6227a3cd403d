"""A scene library drawn on the spot: no downloaded art is needed."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sacvit_deploy.training.backgrounds import Split
from sacvit_deploy.training.classes import CLASSES, DISTRACTORS
from sacvit_deploy.training.scenes import Library


def _art(number: int) -> Image.Image:
    """Draw a disc with a notch, in a colour of its own; its shape is neither symmetric nor square."""
    colour = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(number * 0.37 % 1, 0.9, 0.9))
    image = Image.new("RGBA", (128, 128))
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 20, 120, 108), fill=(*colour, 255))
    draw.rectangle((80, 30, 100, 50), fill=(255, 255, 255, 255))
    return image


@pytest.fixture(scope="session")
def library_of() -> Callable[[Split], Library]:
    """Return a maker of libraries, one for each split."""
    codes = [c.code for c in CLASSES] + list(DISTRACTORS)
    objects = {code: _art(i) for i, code in enumerate(codes)}

    def make(split: Split) -> Library:
        rng = np.random.default_rng(split == "test")
        return Library(split, objects, [rng.integers(0, 256, (300, 400, 3), dtype=np.uint8) for _ in range(3)])

    return make
