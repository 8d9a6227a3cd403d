"""Which profile a call takes, and what is said where none allows its shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.backends.tensorrt.tensors import Profile, choose_profile
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import DeviceTensor
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges, target_range
from sacvit_deploy.errors import BackendError

CONFIG = ModelConfig()
FLOAT = np.dtype(np.float32)


def built(role: str, batch: SizeRange, alphas: tuple[float, ...] | None = None) -> list[Profile]:
    """The profiles that `sacvit build` gives an engine."""
    targets = target_range(CONFIG, alphas)
    return [
        {name: (tuple(shapes.min), tuple(shapes.opt), tuple(shapes.max)) for name, shapes in ranges.items()}
        for ranges in (input_ranges(role, CONFIG, sizes, targets) for sizes in batch_ranges(batch))
    ]


def sac_call(batch: int, count: int) -> dict[str, DeviceTensor]:
    shapes = {
        "patches": (batch, 4 * count, 768),
        "positions": (batch, 4 * count),
        "target_features": (batch, count, 384),
        "background": (batch, 49 - count, 384),
    }
    return {name: DeviceTensor(0, shape, FLOAT) for name, shape in shapes.items()}


@given(batch=st.integers(1, 32), count=st.integers(1, 48))
def test_every_call_in_range_finds_the_narrowest_profile(batch: int, count: int) -> None:
    assert choose_profile(built("sac", SizeRange(1, 8, 32)), sac_call(batch, count), "sac.plan") == (
        0 if batch == 1 else 1
    )


@pytest.mark.parametrize(("batch", "count"), [(33, 24), (8, 13), (8, 45)])
def test_calls_out_of_range_name_the_input_and_its_range(batch: int, count: int) -> None:
    profiles = built("sac", SizeRange(1, 8, 32), (0.3, 0.9))
    with pytest.raises(BackendError) as said:
        choose_profile(profiles, sac_call(batch, count), "sac.plan")
    message = str(said.value)
    assert "sac.plan takes `patches` of [1, 56, 768] to [32, 176, 768]" in message
    assert f"not [{batch}, {4 * count}, 768]" in message
    assert "--batch or --alpha" in message
