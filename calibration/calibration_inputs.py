"""The inputs that each engine is calibrated with: images taken through the cascade as at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.confidence import finite_rows, softmax
from sacvit_deploy.console.text import counted
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from sacvit_deploy.evaluation.labelled_images import LabelledImages, decoded_batches
from sacvit_deploy.glue import StageTwoInputs, continuing, join
from sacvit_deploy.images.preprocess import full_view

BATCH = 16
FEW = 16  # images; with fewer, ranges are a matter of chance


@dataclass(frozen=True)
class CalibrationInputs:
    """Calibration images after a pass through the fp32 cascade.

    images: the model's views. requests: what reached stage 2, in batches, for every alpha. digest: SHA-256 of the
    views. notes: remarks for the user.
    """

    cascade: Cascade
    images: Sequence[Pixels]
    requests: Sequence[StageTwoInputs]
    digest: str
    notes: tuple[str, ...]

    def batches(self, role: str) -> Iterator[dict[str, Array]]:
        """Yield the inputs of the engine `role` (ee, sac or deit), batch by batch."""
        if role == "sac":
            for request in self.requests:
                yield request.inputs(self.cascade.config)
            return
        for start in range(0, len(self.images), BATCH):
            images = self.images[start : start + BATCH]
            if role == BASELINE:
                yield {"image": full_view(images, self.cascade.config.preprocessing)}
            else:
                yield {"image": self.cascade.low_view(images)}

    def num_batches(self, role: str) -> int:
        """Count what `batches` yields."""
        return len(self.requests) if role == "sac" else -(-len(self.images) // BATCH)

    def part(self, count: int) -> CalibrationInputs:
        """Return about `count` images for each engine and alpha, spread over all; for passes that take long."""
        images = self.images[:: max(1, len(self.images) // count)][:count]
        by_targets: dict[int, list[StageTwoInputs]] = {}
        for request in self.requests:
            by_targets.setdefault(request.targets.shape[1], []).append(request)
        requests = []
        for of_alpha in by_targets.values():
            batches = of_alpha[:: max(1, len(of_alpha) // count)]
            requests.append(join([batch.part(0, -(-count // len(batches))) for batch in batches]).part(0, count))
        return CalibrationInputs(self.cascade, images, requests, self.digest, self.notes)


def with_progress(batches: Iterable[dict[str, Array]], advance: Callable[[int], None]) -> Iterator[dict[str, Array]]:
    """Yield the batches, and report each one when it has been used."""
    for batch in batches:
        yield batch
        advance(1)


def collect_inputs(
    cascade: Cascade,
    dataset: LabelledImages,
    *,
    eta: float,
    alphas: Sequence[float],
    advance: Callable[[int], None] = lambda _: None,
) -> CalibrationInputs:
    """Take the images through the fp32 cascade and keep the inputs of each engine.

    Stage 2 gets the images that continue at `eta`; where none does, all of them (a note says so). Raises ImageError if
    no image can be read, OutputError if the cascade gives none a finite answer.
    """
    counts = [cascade.config.num_targets(alpha) for alpha in alphas]
    unreadable: list[SacvitError] = []
    images: list[Pixels] = []
    readable = 0
    passed: list[tuple[list[Pixels], dict[str, Array]]] = []  # images with finite values, stage 1's outputs
    digest = hashlib.sha256()
    for decoded in decoded_batches(dataset, BATCH):
        unreadable += decoded.errors
        readable += len(decoded.images)
        if decoded.images:
            out = cascade.stage_one(cascade.low_view(decoded.images))
            rows: Index = np.nonzero(finite_rows(out["logits"], out["scores"]))[0]
            if rows.size:
                answered = [decoded.images[row] for row in rows.tolist()]
                passed.append((answered, {name: value[rows] for name, value in out.items()}))
                images += answered
        for image in decoded.images:
            digest.update(image.tobytes())
        advance(decoded.size)
    if not readable:
        raise ImageError(f"none of the {len(dataset):,} images in {dataset.source} can be read; {unreadable[0]}")
    if not passed:
        raise OutputError("the fp32 engines give no finite answer on any calibration image")
    notes = []
    if unreadable:
        notes.append(f"{len(unreadable)} of {len(dataset)} calibration images can't be read, such as: {unreadable[0]}")
    if overflowed := readable - len(images):
        notes.append(f"{counted(overflowed, 'calibration image')} got NaN or infinite values in fp32; left out")
    if len(images) < FEW:
        have = counted(len(images), "calibration image")
        notes.append(f"only {have}; ranges from fewer than {FEW} are a matter of chance")
    gates = [continuing(softmax(out["logits"]), eta) for _, out in passed]
    continued = sum(int(gate.sum()) for gate in gates)
    if not continued:
        notes.append(f"no calibration image continues at eta {eta:g}; stage 2 is calibrated with all of them (eta 1)")
        gates = [np.ones_like(gate) for gate in gates]
    elif continued < FEW <= len(images):
        notes.append(
            f"only {continued} of {len(images)} calibration images continue at eta {eta:g}; stage 2 is calibrated with "
            "these"
        )
    requests = []
    for (answered, out), gate in zip(passed, gates, strict=True):
        rows = np.nonzero(gate)[0]
        for count in counts if rows.size else ():
            targets = cascade.targets(out["scores"][rows], count)
            requests.append(cascade.request(answered, out, rows, targets))
    return CalibrationInputs(cascade, images, requests, digest.hexdigest(), tuple(notes))
