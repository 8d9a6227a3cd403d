"""The cascade that needs no SAC: EE, then the plain DeiT on what continues. What SAC's reuse must beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.product import distinct_images, measure_batch
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, open_subject
from sacvit_deploy.benchmarks.lineup import Entry
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.confidence import StageAnswers
from sacvit_deploy.costs import costs
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.device import DeviceStages
from sacvit_deploy.stages.protocol import InFlight

BATCHES = (128, 1, 32)


@dataclass(frozen=True)
class TwoModels:
    """Contender: stage 1 of the cascade, then the plain DeiT, on joined batches, both on the device."""

    subject: Subject
    eta: float

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Classify as the cascade does, with the DeiT in the place of stage 2."""
        with self.subject.cascade.stages(1, batch) as first, self.subject.plain.stages(1, batch) as second:
            yield from Scheduler(Pair(first, second), self.eta, batch, patience=8 * batch).run(batches)


class Pair:
    """Stage 1 of two devices' stages as a cascade's two, behind the protocol `Stages`.

    Images that continue go up once more, to the second. Their targets are none.
    """

    def __init__(self, first: DeviceStages, second: DeviceStages) -> None:
        self._first, self._second, self.depth = first, second, first.depth
        self._waiting: list[InputImage] = []

    def places(self, ahead: int) -> None:
        """Return nothing: images that continue are read again later."""

    def enqueue_stage1(self, images: Sequence[InputImage]) -> InFlight:
        inner = self._first.enqueue_stage1(images)
        return InFlight(inner.size, inner.timing, private=(inner, images))

    def wait_stage1(self, in_flight: InFlight) -> StageAnswers:
        return self._first.wait_stage1(in_flight.private[0])

    def queue_stage2(self, in_flight: InFlight, rows: Index) -> InFlight:
        images = in_flight.private[1]
        self._waiting += [images[row] for row in rows]
        return InFlight(len(rows))

    def enqueue_stage2(self, size: int) -> InFlight:
        images, self._waiting = self._waiting[:size], self._waiting[size:]
        return self._second.enqueue_stage1(images)

    def wait_stage2(self, in_flight: InFlight) -> tuple[StageAnswers, Index]:
        answers = self._second.wait_stage1(in_flight)
        in_flight.timing = {f"deit {step}": seconds for step, seconds in in_flight.timing.items()}
        return answers, np.zeros((in_flight.size, 0), np.int64)


def measure(settings: Settings) -> Iterator[Row]:
    """Yield rows of the cascade, the plain DeiT and the two models, at a few batches.

    The second model reads images again when a stream's threads may write over them; so all three copy them here.
    """
    settings = dataclasses.replace(settings, workers=1)
    subject = open_subject(settings)
    macs = costs(subject.config)
    gmacs = (macs.ee + settings.share * macs.deit) / 1e9
    for batch in [batch for batch in settings.batches if batch in BATCHES] or settings.batches[:1]:
        images = distinct_images(subject, settings, batch)
        eta = eta_for(stage_one_probabilities(subject.cascade, images, batch), settings.share)
        entry = Entry(TwoModels(subject, eta), "EE then deit", subject.precision, lambda batch: gmacs)
        yield from measure_batch(subject, settings, batch, [settings.share], [entry])
