"""Accuracy of both stages on plain pictures."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sacvit_deploy.errors import ImageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.training.lessons import Lessons
from sacvit_deploy.training.trainer import random_targets


class Accuracies(NamedTuple):
    """Shares of right answers of each stage alone, and of how many pictures."""

    ee: float
    sac: float
    pictures: int


@torch.no_grad()
def measure(
    model: ReferenceSACViT, lessons: Lessons, *, limit: int | None = None, batch: int = 64, by_chance: bool = False
) -> Accuracies:
    """Run both stages on every picture, or on `limit` of them, evenly spread. by_chance: random targets.

    Raises ImageError if none can be read.
    """
    device = next(model.parameters()).device
    rows = np.arange(len(lessons))
    if limit is not None and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, limit).astype(np.int64)
    right, count = np.zeros(2), 0
    for start in range(0, len(rows), batch):
        try:
            image, labels, _ = lessons.plain(rows[start : start + batch]).to(device)
        except ImageError:  # not one of these can be read, which the set has said of each
            continue
        out = model(image)
        sac = out.logits
        if by_chance:
            sac = model.stage_two_from(image, out.ee, random_targets(model.config, len(image), start).to(device))
        right += [_right(logits, labels) for logits in (out.ee.logits, sac)]
        count += len(labels)
    if not count:
        raise ImageError(f"none of the {len(rows)} held-out pictures can be read")
    return Accuracies(float(right[0] / count), float(right[1] / count), count)


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) == labels).sum())
