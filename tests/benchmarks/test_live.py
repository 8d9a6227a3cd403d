"""The camera of `benchmarks/live.py` keeps its pace, and every frame is accounted for."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.live import WAYS, camera, measure

BUNDLE = Path(__file__).parents[2] / "examples/int8/model.sacvit"
FRAMES = [np.full((32, 32, 3), value, np.uint8) for value in (0, 128)]


def test_no_frame_comes_before_its_time() -> None:
    start = time.monotonic()
    came = [time.monotonic() - start for _ in camera(FRAMES, 100, 5, start)]
    assert all(second >= number / 100 for number, second in enumerate(came)) and len(came) == 5


@pytest.mark.parametrize("way", WAYS)
def test_every_frame_is_answered_or_dropped(way: str) -> None:
    delays = measure(SACViT(BUNDLE, threads=1), FRAMES, 100, 12, WAYS[way])
    assert len(delays.each) + delays.dropped == 12
    assert delays.first == delays.each[:1] and min(delays.each) > 0
