"""Forced continue fractions: the eta at which the real gate lets a given share of the images continue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sacvit_deploy.benchmarks.contenders import CascadeContender
from sacvit_deploy.errors import UsageError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.images.scaled import InputImage, ScaledImage, full_image
from sacvit_deploy.item import Item
from sacvit_deploy.model import SACViT
from sacvit_deploy.stages.context_pool import ContextPool


def stage_one_probabilities(model: SACViT | ContextPool, images: Sequence[InputImage], batch: int = 8) -> Float:
    """Return the highest probability of stage 1 for each image [n], as the gate sees it, on the host or the device."""
    items = [
        Item(str(row), None, scaled=image) if isinstance(image, ScaledImage) else Item(str(row), full_image(image))
        for row, image in enumerate(images)
    ]
    answers = CascadeContender(model, 0.0, 1).answers(in_batches(items, batch), batch)
    return np.array([answer.stage_one_probability for answer in answers])


def eta_for(probabilities: Float, share: float) -> float:
    """Find the eta at which just `share` of the images, rounded to a whole number, continues.

    Raises UsageError for a share out of range, and where equal probabilities leave no eta between them.
    """
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"a continue fraction of {share} was asked for; it must lie between 0 and 1")
    ordered = np.sort(probabilities)
    at = round(share * len(ordered))
    if at == 0:
        return 0.0
    if at == len(ordered):
        return 1.0
    low, high = float(ordered[at - 1]), float(ordered[at])
    eta = (low + high) / 2
    if not low <= eta < high:
        raise UsageError(
            f"no eta lets {share:.0%} of these {len(ordered)} images continue: several have the probability "
            f"{low:.4g}; choose another fraction, or more images"
        )
    return eta
