"""What the scheduler drives: both stages and the glue between them, on the processor or on a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.glue import StageTwoRequest, build_request, join, select_targets
from sacvit_deploy.images.scaled import Picture, Scaled, half_view, whole, whole_rows
from sacvit_deploy.stages.protocol import Clock, Ticket


def stage_one_view(cascade: Cascade, images: Sequence[Picture]) -> Array:
    """B pictures, decoded in full or seen at half size -> the EE engine's input."""
    if not any(isinstance(image, Scaled) for image in images):
        return cascade.low_view([whole(image) for image in images])
    preprocessing = cascade.config.preprocessing
    return np.stack(
        [
            half_view(image, preprocessing) if isinstance(image, Scaled) else cascade.low_view([image])[0]
            for image in images
        ]
    )


class HostStages:
    """Both stages as plain calls with arrays; `count` is M."""

    depth = 1

    def __init__(self, cascade: Cascade, count: int) -> None:
        self._cascade, self._count = cascade, count
        self._requests: list[StageTwoRequest] = []

    def begin(self, images: Sequence[Picture]) -> Ticket:
        """Run stage 1."""
        ticket, clock = Ticket(len(images)), Clock()
        low = stage_one_view(self._cascade, images)
        ticket.book("view", clock.lap())
        out = self._cascade.stage_one(low)
        ticket.book("ee", clock.lap())
        ticket.held = images, out
        return ticket

    def look(self, ticket: Ticket) -> Array:
        """Stage 1's logits, NaN in the rows whose scores are not finite."""
        out = ticket.held[1]
        usable = np.isfinite(out["scores"]).all(axis=1)
        logits: Array = np.where(usable[:, None], out["logits"], np.nan)
        return logits

    def hold(self, ticket: Ticket, rows: Index) -> Ticket:
        """Build a request."""
        clock, held = Clock(), Ticket(len(rows))
        images, out = ticket.held
        targets = select_targets(out["scores"][rows], self._count)
        full = dict(zip(rows.tolist(), whole_rows(images, rows.tolist()), strict=True))
        if any(isinstance(image, Scaled) for image in images):
            held.book("decode", clock.lap())
        self._requests.append(build_request(full, out, rows, targets, self._cascade.config))
        held.book("gather", clock.lap())
        return held

    def start(self, size: int) -> Ticket:
        """Run stage 2."""
        ticket, clock = Ticket(size), Clock()
        request = join(self._requests)
        now, later = request.part(0, size), request.part(size, request.size)
        self._requests = [later] if later.size else []
        inputs = now.inputs(self._cascade.config)
        ticket.book("gather", clock.lap())
        ticket.held = self._cascade.stage_two(inputs), now.targets
        ticket.book("sac", clock.lap())
        return ticket

    def finish(self, ticket: Ticket) -> tuple[Array, Index]:
        """What `start` found."""
        logits, targets = ticket.held
        return logits, targets


