"""What CF-ViT and LF-ViT fix of the method: their files have two position tables and look alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from sacvit_deploy.config import Method


def two_table_method(family: Literal["cf-vit", "lf-vit"]) -> Method:
    """Return the method that a family's published code has; the fusion is the weights' to tell."""
    method = Method(positions="separate", downsample="bilinear_corners", attention="global", rounding="ceil")
    if family == "cf-vit":
        return method
    # Both published sizes, 224 and 288, have this window, of a grid of 7 or 9 tokens a side.
    return replace(method, selection="window", region_size=5, alpha=0.88)
