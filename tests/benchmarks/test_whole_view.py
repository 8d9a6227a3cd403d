"""The plain DeiT's preprocessing as an engine does what the host's does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest

from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.benchmarks.whole_view import whole_view
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.images.preprocess import full_view

BUNDLE = Path(__file__).parents[1] / "data/before"


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_it_gives_the_hosts_view_to_the_last_bit(dtype: type) -> None:
    preprocessing = Preprocessing(mean=(0.1, 0.5, 0.7), std=(0.2, 0.3, 0.4))
    config = dataclasses.replace(open_bundle(BUNDLE).manifest.config, preprocessing=preprocessing)
    model = whole_view(config, np.dtype(dtype))
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    side = config.geometry.image_size
    pictures = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    found = SessionFactory(1).open(model).run(["image"], {"pictures": pictures})[0]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, full_view(list(pictures), preprocessing).astype(dtype))
