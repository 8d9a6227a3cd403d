"""The host's cost of an image, measured with engines that cost nothing."""

from __future__ import annotations

import pytest

from sacvit_deploy.benchmarks.host_cost import measure


@pytest.mark.parametrize("fraction", [0.0, 0.23, 1.0])
def test_every_image_is_answered(fraction: float) -> None:
    assert measure(128, 10, fraction) > 0
