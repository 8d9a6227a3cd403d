"""Names, shapes and element types of every engine's inputs and outputs."""

from __future__ import annotations

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import Shape
from sacvit_deploy.geometry import CHILDREN


def gathered_shapes(config: ModelConfig, batch: int, count: int) -> dict[str, Shape]:
    """Shapes of what the `gather` engine gives for `batch` pictures and M = `count` targets."""
    geometry = config.geometry
    return {
        "patches": (batch, CHILDREN * count, geometry.patch_values),
        "positions": (batch, CHILDREN * count),
        "target_features": (batch, count, geometry.width),
        "background": (batch, geometry.tokens - count, geometry.width),
        "targets": (batch, count),
    }
