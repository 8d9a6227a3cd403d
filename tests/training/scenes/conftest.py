"""Scene library drawn by the tests, a split rendered from it, and a copyright file."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sacvit_deploy.training.scenes import dataset
from sacvit_deploy.training.scenes.backgrounds import Split
from sacvit_deploy.training.scenes.classes import CLASSES, DISTRACTORS
from sacvit_deploy.training.scenes.render import ObjectLibrary

COPYRIGHT = """Format: https://example.org/

Files: *
License: GPL-2+

Files:
 base/textures/tex_a/free01.png
 base/textures/tex_a/free02.png
Copyright:
 Ada Lovelace
 Charles Babbage
License: CC-BY-3.0

Files: base/textures/tex_a/bound01.png
Copyright: Somebody
License: GPL-2
"""


def _art(number: int) -> Image.Image:
    """Draw a disc with a notch, in a colour of its own; its shape is neither symmetric nor square."""
    colour = tuple(round(255 * v) for v in colorsys.hsv_to_rgb(number * 0.37 % 1, 0.9, 0.9))
    image = Image.new("RGBA", (128, 128))
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 20, 120, 108), fill=(*colour, 255))
    draw.rectangle((80, 30, 100, 50), fill=(255, 255, 255, 255))
    return image


@pytest.fixture(scope="session")
def library_of() -> Callable[[Split], ObjectLibrary]:
    """Return a function that makes the library of a split."""
    codes = [c.code for c in CLASSES] + list(DISTRACTORS)
    objects = {code: _art(i) for i, code in enumerate(codes)}

    def make(split: Split) -> ObjectLibrary:
        rng = np.random.default_rng(split == "test")
        return ObjectLibrary(split, objects, [rng.integers(0, 256, (300, 400, 3), dtype=np.uint8) for _ in range(3)])

    return make


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory, library_of: Callable[[Split], ObjectLibrary]) -> Path:
    """Render a test split of 30 scenes from seed 5, in blocks of 7."""
    path = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "BLOCK", 7)  # several blocks for each worker
        dataset.render_split(library_of("test"), path, 30, seed=5, workers=2)
    return path


@pytest.fixture
def copyright_text() -> str:
    """Return a Debian copyright file with two free textures, one that isn't, and a pattern."""
    return COPYRIGHT
