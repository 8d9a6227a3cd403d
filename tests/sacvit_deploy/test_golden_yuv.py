"""The golden values of camera formats are what the standards say, and the file is what computes them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def yuv() -> ModuleType:
    spec = importlib.util.spec_from_file_location("yuv", FOLDER / "yuv.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_equal_to_the_golden_file(yuv: ModuleType) -> None:
    assert yuv.compute() == json.loads((FOLDER / "yuv.json").read_text())


@pytest.mark.parametrize("colors", ["bt601", "bt601_full", "bt709", "bt709_full"])
def test_near_the_standards_matrix(yuv: ModuleType, colors: str) -> None:
    every = np.arange(0, 256, 5, dtype=np.uint8)
    values = np.stack(np.meshgrid(every, every, every), axis=-1)
    black, factors = yuv.matrix(colors)
    exact = np.clip((values.astype(float) - [black, 128, 128]) @ factors.T, 0, 255)
    assert np.abs(yuv.to_rgb(values, colors) - exact).max() < 0.51


@pytest.mark.parametrize(("colors", "black", "white", "red"), [
    ("bt601", [16, 128, 128], [235, 128, 128], [81, 90, 240]),
    ("bt601_full", [0, 128, 128], [255, 128, 128], [76, 85, 255]),
])  # fmt: skip
def test_black_white_and_red(yuv: ModuleType, colors: str, black: list[int], white: list[int], red: list[int]) -> None:
    """As tables of the standards have them."""
    found = yuv.to_rgb(np.array([black, white, red], np.uint8), colors).tolist()
    assert found[:2] == [[0, 0, 0], [255, 255, 255]]
    assert found[2][0] >= 254 and max(found[2][1:]) <= 1
