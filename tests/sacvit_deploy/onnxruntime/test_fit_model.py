"""The model that resizes on a device, on the processor: Pillow's pixels to the last bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.backends.onnxruntime.fit_model import SIZES, fit_model
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.images.resize_weights import fit_weights
from sacvit_deploy.images.strips import SIDEWAYS, TURNS, Turn


@pytest.mark.parametrize("turn", [None, *TURNS.values()], ids=str)
def test_it_fits_as_pillow_does(turn: Turn | None) -> None:
    session = SessionFactory(1).open(fit_model(turn in SIDEWAYS))
    random = np.random.default_rng(0)
    shapes = ((500, 375), (97, 640), (300, 20), (64, 64), (1, 3), (1900, 1300))
    small = ((2, 2), (63, 40), (5, 12), (31, 32))  # with weights above one at the edges, where nothing is cropped
    sizes = [(shape, Preprocessing()) for shape in shapes] + [(shape, Preprocessing(crop=1.0)) for shape in small]
    for (width, height), recipe in sizes:
        # Only white and black, whose edges a bicubic filter overshoots at both ends.
        pixels = 255 * random.integers(0, 2, (height, width, 3), dtype=np.uint8)
        weights = fit_weights((width, height), turn, 64, recipe)
        assert weights is not None
        halves = dict(zip(SIZES, dataclasses.astuple(weights), strict=True))
        (found,) = session.run(["fitted"], {"pixels": pixels, **halves})
        upright = Image.fromarray(pixels)
        upright = upright if turn is None else upright.transpose(turn)
        np.testing.assert_array_equal(found, fit(upright, 64, recipe))
