"""What the scheduler drives: both stages and the glue between them, on the processor or on a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.glue import StageTwoRequest, join
from sacvit_deploy.images.scaled import InputImage, ScaledImage, full_image, full_images, half_view
from sacvit_deploy.stages.protocol import InFlight


def stage_one_view(cascade: Cascade, images: Sequence[InputImage]) -> Array:
    """B pictures, decoded in full or seen at half size -> the EE engine's input."""
    if not any(isinstance(image, ScaledImage) for image in images):
        return cascade.low_view([full_image(image) for image in images])
    preprocessing = cascade.config.preprocessing
    return np.stack(
        [
            half_view(image, preprocessing) if isinstance(image, ScaledImage) else cascade.low_view([image])[0]
            for image in images
        ]
    )


class HostStages:
    """Both stages as plain calls with arrays; `count` is M."""

    depth = 1

    def __init__(self, cascade: Cascade, count: int) -> None:
        self._cascade, self._count = cascade, count
        self._requests: list[StageTwoRequest] = []

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        """Run stage 1."""
        in_flight, clock = InFlight(len(images)), Clock()
        low = stage_one_view(self._cascade, images)
        in_flight.book("view", clock.lap())
        out = self._cascade.stage_one(low)
        in_flight.book("ee", clock.lap())
        in_flight.held = images, out
        return in_flight

    def wait_stage1(self, in_flight: InFlight) -> Array:
        """Stage 1's logits, NaN in the rows whose scores are not finite."""
        out = in_flight.held[1]
        usable = np.isfinite(out["scores"]).all(axis=1)
        logits: Array = np.where(usable[:, None], out["logits"], np.nan)
        return logits

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        """Build a request."""
        clock, held = Clock(), InFlight(len(rows))
        images, out = in_flight.held
        targets = self._cascade.targets(out["scores"][rows], self._count)
        full = dict(zip(rows.tolist(), full_images(images, rows.tolist()), strict=True))
        if any(isinstance(image, ScaledImage) for image in images):
            held.book("decode", clock.lap())
        self._requests.append(self._cascade.request(full, out, rows, targets))
        held.book("gather", clock.lap())
        return held

    def enqueue_stage2(self, size: int) -> InFlight:
        """Run stage 2."""
        in_flight, clock = InFlight(size), Clock()
        request = join(self._requests)
        now, later = request.part(0, size), request.part(size, request.size)
        self._requests = [later] if later.size else []
        inputs = now.inputs(self._cascade.config)
        in_flight.book("gather", clock.lap())
        in_flight.held = self._cascade.stage_two(inputs), now.targets
        in_flight.book("sac", clock.lap())
        return in_flight

    def wait_stage2(self, in_flight: InFlight) -> tuple[Array, Index]:
        """What `enqueue_stage2` found."""
        logits, targets = in_flight.held
        return logits, targets
