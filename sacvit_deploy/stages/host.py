"""Both stages as plain calls with arrays, on whatever backend the cascade has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import StageAnswers
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.glue import StageTwoInputs, join
from sacvit_deploy.images.scaled import InputImage, ScaledImage, full_image, full_images, half_view
from sacvit_deploy.ranges import in_range
from sacvit_deploy.stages.protocol import InFlight


def stage_one_view(cascade: Cascade, images: Sequence[InputImage]) -> Array:
    """Return the EE engine's input [B,3,S/2,S/2] for B images, decoded in full or at half resolution."""
    if not any(isinstance(image, ScaledImage) for image in images):
        return cascade.low_view([full_image(image) for image in images])
    preprocessing = cascade.config.preprocessing

    def view(image: InputImage) -> Array:
        if isinstance(image, ScaledImage):
            return half_view(image, preprocessing)
        return np.asarray(cascade.low_view([full_image(image)])[0])

    return np.stack([view(image) for image in images])


class HostStages:
    """The stages over a cascade, behind the protocol `Stages`; enqueueing computes. count: M."""

    depth = 1

    def __init__(self, cascade: Cascade, count: int) -> None:
        self._cascade, self._count = cascade, count
        self._queue: list[StageTwoInputs] = []

    def places(self, ahead: int) -> None:
        """Return nothing: images are taken from anywhere."""

    @in_range("stage 1")
    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        in_flight, clock = InFlight(len(images)), Clock()
        low = stage_one_view(self._cascade, images)
        in_flight.book("view", clock.lap())
        ee = self._cascade.stage_one(low)
        in_flight.book("ee", clock.lap())
        in_flight.private = images, ee
        return in_flight

    @in_range("stage 1, wait")
    def wait_stage1(self, in_flight: InFlight) -> StageAnswers:
        """Return the logits [B,C], with NaN in the rows whose scores are not finite."""
        _, ee = in_flight.private
        usable = np.isfinite(ee["scores"]).all(axis=1)
        return StageAnswers(
            ee["logits"] if usable.all() else np.where(usable[:, None], ee["logits"], np.float32(np.nan))
        )

    @in_range("gather")
    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        clock, queued = Clock(), InFlight(len(rows))
        images, ee = in_flight.private
        decoded: dict[int, Pixels] = {}
        for row, image in zip(rows.tolist(), full_images(images, rows.tolist()), strict=True):
            if isinstance(image, SacvitError):
                queued.errors[row] = image
            else:
                decoded[row] = image
        if any(isinstance(image, ScaledImage) for image in images):
            queued.book("decode", clock.lap())
        if decoded:
            rows = np.array([row for row in rows.tolist() if row in decoded])
            targets = self._cascade.targets(ee["scores"][rows], self._count)
            self.put(self._cascade.request(decoded, ee, rows, targets))
        queued.book("gather", clock.lap())
        return queued

    def put(self, inputs: StageTwoInputs) -> None:
        """Queue images for stage 2 whose inputs were gathered elsewhere, for the same M."""
        self._queue.append(inputs)

    def take(self, size: int) -> StageTwoInputs:
        """Return the inputs of the `size` images that have waited longest; they wait no more."""
        inputs = join(self._queue)
        batch, rest = inputs.part(0, size), inputs.part(size, inputs.size)
        self._queue = [rest] if rest.size else []
        return batch

    @in_range("stage 2")
    def enqueue_stage2(self, size: int) -> InFlight:
        in_flight, clock = InFlight(size), Clock()
        batch = self.take(size)
        inputs = batch.inputs(self._cascade.config)
        in_flight.book("gather", clock.lap())
        in_flight.private = self._cascade.stage_two(inputs), batch.targets
        in_flight.book("sac", clock.lap())
        return in_flight

    @in_range("stage 2, wait")
    def wait_stage2(self, in_flight: InFlight) -> tuple[StageAnswers, Index]:
        logits, targets = in_flight.private
        return StageAnswers(logits), targets
