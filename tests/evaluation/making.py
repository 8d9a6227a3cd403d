"""Writes rendered splits for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write_scenes(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> None:
    """Write a split in the format of the training room; unless given, every object is 30 px in size, at (8, 8)."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(images)
    np.save(folder / "images.npy", images.astype(np.uint8))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.save(folder / "object_px.npy", np.full(count, 30, np.float32) if sizes is None else sizes)
    np.save(folder / "boxes.npy", np.tile(np.array([8, 8, 38, 38], np.int16), (count, 1)) if boxes is None else boxes)
    (folder / "scenes.json").write_text(json.dumps({"split": "test", "seed": 0, "count": count}))
