"""Stage 1 here, stage 2 on another machine, behind the same protocol."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import StageAnswers
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.glue import StageTwoInputs
from sacvit_deploy.images.workers import Workers
from sacvit_deploy.remote import RemoteStageTwo
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import InFlight

DEPTH = 2  # the next batch's stage 1 runs while a batch is on its way
Sent = tuple[list["Array | SacvitError"], float]


class RemoteStages(HostStages):
    """Runs stage 1 as on the host, and sends batches for stage 2 from a thread. count: M.

    As a context manager, the thread ends with the block.
    """

    depth = DEPTH

    def __init__(self, cascade: Cascade, count: int, remote: RemoteStageTwo) -> None:
        super().__init__(cascade, count)
        self._remote = remote
        self._workers = Workers(1)

    def __enter__(self) -> RemoteStages:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def enqueue_stage2(self, size: int) -> InFlight:
        """Send the `size` images that have waited longest."""
        in_flight, clock = InFlight(size), Clock()
        batch = self.take(size)
        in_flight.book("gather", clock.lap())
        in_flight.private = self._workers.submit(self._send, batch), batch.targets
        return in_flight

    def wait_stage2(self, in_flight: InFlight) -> tuple[StageAnswers, Index]:
        """Wait for the logits; rows without are NaN, and have an error."""
        sent: Future[Sent]
        sent, targets = in_flight.private
        results, seconds = sent.result()
        in_flight.book("remote", seconds)
        logits = np.full((in_flight.size, self._cascade.config.geometry.classes), np.nan, np.float32)
        for row, result in enumerate(results):
            if isinstance(result, SacvitError):
                in_flight.errors[row] = result
            else:
                logits[row] = result
        return StageAnswers(logits), targets

    def _send(self, batch: StageTwoInputs) -> Sent:
        clock = Clock()
        # Nameless: a server needs no paths of this machine, and the scheduler puts names before errors.
        requests = [
            StageTwoRequest(self._remote.variant, "", 0.0, batch.part(row, row + 1)) for row in range(batch.size)
        ]
        return self._remote.logits(requests), clock.lap()
