"""What each engine is calibrated with: the pictures, taken through the cascade as at run time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from sacvit_deploy.evaluation.data import Pictures, counted
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import StageTwoRequest, continuing, join, softmax
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.scheduler import finite_rows

BATCH = 16
FEW = 16  # pictures; with fewer, ranges are a matter of chance


@dataclass(frozen=True)
class Calibration:
    """Calibration pictures after a pass through the fp32 cascade.

    images: the model's views. requests: what reached stage 2, in batches, for every alpha. digest: SHA-256 of the
    views. notes: what the user should know.
    """

    cascade: Cascade
    images: Sequence[Pixels]
    requests: Sequence[StageTwoRequest]
    digest: str
    notes: tuple[str, ...]

    def feeds(self, role: str) -> Iterator[dict[str, Array]]:
        """Batches of inputs of the engine `role`: ee, sac or deit."""
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

    def batches(self, role: str) -> int:
        """How many batches `feeds` gives."""
        return len(self.requests) if role == "sac" else -(-len(self.images) // BATCH)

    def part(self, count: int) -> Calibration:
        """About `count` pictures for each engine and alpha, spread over all, where measuring on all takes too long."""
        images = self.images[:: max(1, len(self.images) // count)][:count]
        by_targets: dict[int, list[StageTwoRequest]] = {}
        for request in self.requests:
            by_targets.setdefault(request.targets.shape[1], []).append(request)
        requests = []
        for same in by_targets.values():
            batches = same[:: max(1, len(same) // count)]
            requests.append(join([batch.part(0, -(-count // len(batches))) for batch in batches]).part(0, count))
        return Calibration(self.cascade, images, requests, self.digest, self.notes)


def told(feeds: Iterable[dict[str, Array]], advance: Callable[[int], None]) -> Iterator[dict[str, Array]]:
    """The same batches, with a word after each."""
    for feed in feeds:
        yield feed
        advance(1)


def gather(
    cascade: Cascade,
    pictures: Pictures,
    *,
    eta: float,
    alphas: Sequence[float],
    advance: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Take the pictures through the fp32 cascade and keep what each engine sees.

    Stage 2 gets the pictures that really continue at `eta`; where nobody does, everybody (a note says so). Raises
    ImageError if no picture can be read, OutputError if the cascade answers none of them finitely.
    """
    geometry, method = cascade.config.geometry, cascade.config.method
    counts = [num_targets(alpha, geometry.tokens, method.rounding) for alpha in alphas]
    images: list[Pixels] = []
    unreadable: list[SacvitError] = []
    readable = overflowed = 0
    stages = []
    digest = hashlib.sha256()
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="sacvit-decode") as pool:
        for start in range(0, len(pictures), BATCH):
            rows = range(start, min(start + BATCH, len(pictures)))
            found = list(pool.map(lambda row: _load(pictures, row), rows))
            unreadable += [item for item in found if isinstance(item, SacvitError)]
            batch = [item for item in found if not isinstance(item, SacvitError)]
            if batch:
                out = cascade.stage_one(cascade.low_view(batch))
                finite = np.nonzero(finite_rows(out["logits"], out["scores"]))[0]
                overflowed += len(batch) - finite.size
                if finite.size:
                    stages.append((batch, {name: value[finite] for name, value in out.items()}, finite))
                    images += [batch[row] for row in finite]
            readable += len(batch)
            for image in batch:
                digest.update(image.tobytes())
            advance(len(rows))
    if not readable:
        raise ImageError(f"none of the {len(pictures):,} pictures in {pictures.source} can be read; {unreadable[0]}")
    if not stages:
        raise OutputError("the fp32 engines give no finite answer on any calibration picture")
    notes = []
    if unreadable:
        share = f"{len(unreadable)} of {len(pictures)}"
        notes.append(f"{share} calibration pictures can't be read, such as: {unreadable[0]}")
    if overflowed:
        notes.append(f"{counted(overflowed, 'calibration picture')} got NaN or infinite values in fp32; left out")
    if len(images) < FEW:
        have = counted(len(images), "calibration picture")
        notes.append(f"only {have}; ranges from fewer than {FEW} are a matter of chance")
    gates = [continuing(softmax(out["logits"]), eta) for _, out, _ in stages]
    if not any(gate.any() for gate in gates):
        notes.append(f"no calibration picture continues at eta {eta:g}; stage 2 is calibrated with all of them (eta 1)")
        gates = [np.ones_like(gate) for gate in gates]
    elif (going := sum(int(gate.sum()) for gate in gates)) < FEW <= len(images):
        share = f"{going} of {len(images)}"
        notes.append(f"only {share} calibration pictures continue at eta {eta:g}; stage 2 is calibrated with these")
    requests = []
    for (views, out, answered), gate in zip(stages, gates, strict=True):
        kept = np.nonzero(gate)[0]
        if kept.size:
            chosen = [views[row] for row in answered]
            for count in counts:
                targets = cascade.targets(out["scores"][kept], count)
                requests.append(cascade.request(chosen, out, kept, targets))
    return Calibration(cascade, images, requests, digest.hexdigest(), tuple(notes))


def _load(pictures: Pictures, row: int) -> Pixels | SacvitError:
    try:
        return pictures.load(row)
    except SacvitError as error:
        return error
