"""The arithmetic that Python and C++ share, against the file that C++ is tested against, too."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def computed() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("arithmetic", FOLDER / "arithmetic.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # What is written is what counts: lists for tuples.
    found: dict[str, Any] = json.loads(json.dumps(module.compute()))
    return found


GOLDEN: dict[str, Any] = json.loads((FOLDER / "arithmetic.json").read_text())


@pytest.mark.parametrize("part", sorted(set(GOLDEN) - {"softmax"}))
def test_equal_to_the_golden_file(computed: dict[str, Any], part: str) -> None:
    assert computed[part] == GOLDEN[part]


def test_softmax_is_near(computed: dict[str, Any]) -> None:
    # exp may differ in its last bit from one numpy to another.
    for found, expected in zip(computed["softmax"], GOLDEN["softmax"], strict=True):
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=1e-14)
