"""The gate, behind stage 1, and its like behind stage 2: from a batch's logits to the answers of its images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import classify, most_probable
from sacvit_deploy.errors import OutputError, RemoteError, SacvitError
from sacvit_deploy.item import Answer, Verdict
from sacvit_deploy.ranges import in_range
from sacvit_deploy.stages.protocol import InFlight, Stages


@in_range("gate")
def gate(
    stages: Stages, in_flight: InFlight, answers: Sequence[Answer], eta: float | Array, keep: bool = False
) -> list[int]:
    """Wait for stage 1 on a batch; write into `answers`, one for each image, those of the exits and the errors.

    The other images are queued for stage 2. Returns their rows. eta: one for all, or [B]. keep: what stage 1 says of
    these, too. Raises BackendError.
    """
    given = stages.wait_stage1(in_flight)
    clock = Clock()
    etas: Sequence[float] = eta.tolist() if isinstance(eta, np.ndarray) else [eta] * len(answers)
    highest = classify(given, etas)
    # Row by row, in Python's own values: an image's share of this is what limits a fast device.
    exits = [row for row, probability in enumerate(highest) if probability > etas[row]]
    goes_on = [row for row, probability in enumerate(highest) if probability <= etas[row]]  # NaN does neither
    classes = most_probable(given.logits, highest, range(len(answers)) if keep else exits)
    in_flight.book("gate", clock.lap())
    errors: Mapping[int, SacvitError] = {}
    if goes_on:
        queued = stages.queue_stage2(in_flight, np.array(goes_on))
        errors = queued.errors
        share_time(queued, [answers[row].item.timing for row in goes_on])
    share_time(in_flight, [answer.item.timing for answer in answers])
    for answer, probability in zip(answers, highest, strict=True):
        answer.stage_one_probability = probability
    # Copies, as others come into the logits' place.
    for row in exits:
        answer = answers[row]
        answer.logits, answer.index, answer.probability = given.logits[row].copy(), classes[row], highest[row]
    for row in goes_on if keep else ():
        answers[row].kept = Verdict(given.logits[row].copy(), classes[row], highest[row])
    for row, error in errors.items():
        answers[row].error = error
    if len(exits) + len(goes_on) < len(answers):
        for answer in answers:
            if math.isnan(answer.stage_one_probability):
                answer.error = overflow(answer.item.source, "EE")
    return [row for row in goes_on if row not in errors] if errors else goes_on


@in_range("answer")
def finish(stages: Stages, in_flight: InFlight, answers: Sequence[Answer]) -> None:
    """Wait for stage 2 on a batch, and write its answers into `answers`, one for each image.

    Where stage 2 could not be reached, and what stage 1 says was kept for that, it is the answer. Raises BackendError.
    """
    given, targets = stages.wait_stage2(in_flight)
    clock = Clock()
    highest = classify(given)
    classes = most_probable(given.logits, highest, range(len(answers)))
    in_flight.book("answer", clock.lap())
    share_time(in_flight, [answer.item.timing for answer in answers])
    for row, answer in enumerate(answers):
        error = in_flight.errors.get(row)
        if isinstance(error, RemoteError) and answer.kept is not None:
            answer.logits, answer.index, answer.probability = answer.kept
            answer.fallback = str(error)
            continue
        answer.stage, answer.targets = 2, targets[row]
        if error is not None:
            answer.error = type(error)(f"{answer.item.source}: {error}")
        elif math.isnan(highest[row]):
            answer.error = overflow(answer.item.source, "SAC")
        else:
            answer.logits, answer.index, answer.probability = given.logits[row].copy(), classes[row], highest[row]


def share_time(in_flight: InFlight, timings: Sequence[dict[str, float]]) -> None:
    """Add a batch's time to its images' timings, in equal parts."""
    shares = {step: seconds / in_flight.size for step, seconds in in_flight.timing.items()}
    for timing in timings:
        if shares.keys().isdisjoint(timing):
            timing.update(shares)
            continue
        for step, share in shares.items():
            timing[step] = timing.get(step, 0.0) + share


def overflow(source: str, stage: str) -> OutputError:
    """Return the error of an image for which an engine gave NaN or infinity."""
    return OutputError(f"{source}: the {stage} engine gave NaN or infinite values; try another precision, such as fp32")
