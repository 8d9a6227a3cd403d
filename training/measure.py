"""Accuracy of both stages on images without augmentation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sacvit_deploy.errors import ImageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.training.datasets import Dataset
from sacvit_deploy.training.trainer import random_targets


class Accuracies(NamedTuple):
    """Top-1 accuracy of each stage alone, 0 to 1, and the number of images measured on."""

    ee: float
    sac: float
    images: int


@torch.no_grad()
def measure_accuracies(
    model: ReferenceSACViT,
    dataset: Dataset,
    *,
    limit: int | None = None,
    batch: int = 64,
    with_random_targets: bool = False,
) -> Accuracies:
    """Run both stages on every image, or on `limit` of them, evenly spaced. Raises ImageError if none can be read."""
    device = next(model.parameters()).device
    rows = np.arange(len(dataset))
    if limit is not None and limit < len(rows):
        rows = np.linspace(0, len(rows) - 1, limit).astype(np.int64)
    correct, count = np.zeros(2), 0
    for start in range(0, len(rows), batch):
        try:
            image, labels, _ = dataset.eval_batch(rows[start : start + batch]).to(device)
        except ImageError:  # none of this batch can be read; the data set has warned of each
            continue
        out = model(image)
        sac = out.logits
        if with_random_targets:
            sac = model.stage_two_from(image, out.ee, random_targets(model.config, len(image), start).to(device))
        correct += [int((logits.argmax(1) == labels).sum()) for logits in (out.ee.logits, sac)]
        count += len(labels)
    if not count:
        raise ImageError(f"none of the {len(rows)} held-out images can be read")
    ee, sac = (correct / count).tolist()
    return Accuracies(ee, sac, count)
