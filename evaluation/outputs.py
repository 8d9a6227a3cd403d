"""Both stages' answers to every image of a data set, from one pass; any eta is computed from them afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.cascade import BothStages, Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import finite_rows, softmax
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from sacvit_deploy.evaluation.labelled_images import Float, LabelledImages, decoded_batches
from sacvit_deploy.evaluation.timing import BatchTimes, EvalTimes
from sacvit_deploy.gate import overflow
from sacvit_deploy.images.preprocess import full_view

TIMED_BATCHES = 40  # of the baseline: enough for a median, without the largest engine doubling the run
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StageAnswers:
    """Logits [n,C] fp32 of one stage; answers and probabilities are computed from them."""

    logits: Array

    @property
    def answer(self) -> Index:
        """The most probable class [n], as in `Prediction.index`."""
        index: Index = softmax(self.logits).argmax(axis=1)
        return index

    @property
    def probability(self) -> Float:
        """The probability of that class [n], which the gate compares with eta."""
        highest: Float = softmax(self.logits).max(axis=1)
        return highest


@dataclass(frozen=True)
class EvalOutputs:
    """Outputs of both stages for the n images that could be read and got finite values.

    rows: [n] rows of the data set. labels: [n]. ee: stage 1; sac and targets [n,M]: stage 2, by alpha.
    unreadable, overflowed: the errors of the images that are not among the n.
    """

    rows: Index
    labels: Index
    ee: StageAnswers
    sac: Mapping[float, StageAnswers]
    targets: Mapping[float, Index]
    times: EvalTimes
    unreadable: Sequence[SacvitError]
    overflowed: Sequence[SacvitError]


def collect(
    cascade: Cascade,
    dataset: LabelledImages,
    alphas: Sequence[float],
    *,
    batch: int = 32,
    baseline: Engine | None = None,
) -> EvalOutputs:
    """Run both stages on every image, whatever the gate would decide, and the baseline, if given, in turn with them.

    alphas: at least one. batch >= 1. An image that fails is left out and listed. Raises ImageError if no image can be
    read, OutputError if none gets finite outputs, UsageError for an alpha out of range.
    """
    counts = {alpha: cascade.config.num_targets(alpha) for alpha in alphas}
    unreadable: list[SacvitError] = []
    overflowed: list[SacvitError] = []
    rows: list[Index] = []
    ee: list[Array] = []
    sac: dict[float, list[Array]] = {alpha: [] for alpha in counts}
    targets: dict[float, list[Index]] = {alpha: [] for alpha in counts}
    times: list[BatchTimes] = []
    with Progress(sys.stderr).count(dataset.kind, len(dataset)) as advance:
        for decoded in decoded_batches(dataset, batch):
            unreadable += decoded.errors
            if decoded.images:
                timed = baseline if len(times) < TIMED_BATCHES else None
                both, seconds = _run(cascade, decoded.images, counts, timed)
                times.append(seconds)
                answered = finite_rows(both.ee["logits"], both.ee["scores"])
                good = answered & finite_rows(*(result.logits for result in both.sac))
                for at in np.nonzero(~good)[0]:
                    name = dataset.names[decoded.rows[at]]
                    overflowed.append(overflow(name, "SAC" if answered[at] else "EE"))
                rows.append(decoded.rows[good])
                ee.append(both.ee["logits"][good])
                for alpha, result in zip(counts, both.sac, strict=True):
                    sac[alpha].append(result.logits[good])
                    targets[alpha].append(result.targets[good])
            advance(decoded.size)
    if not rows:
        raise ImageError(f"none of the {len(dataset):,} images in {dataset.source} can be read; {unreadable[0]}")
    every = np.concatenate(rows)
    if not every.size:
        raise OutputError(f"no image of {dataset.source} gets a finite answer; {overflowed[0]}")
    return EvalOutputs(
        rows=every,
        labels=dataset.labels[every],
        ee=StageAnswers(np.concatenate(ee)),
        sac={alpha: StageAnswers(np.concatenate(parts)) for alpha, parts in sac.items()},
        targets={alpha: np.concatenate(parts) for alpha, parts in targets.items()},
        times=EvalTimes(times, batch),
        unreadable=unreadable,
        overflowed=overflowed,
    )


def _run(
    cascade: Cascade, images: Sequence[Pixels], counts: Mapping[float, int], baseline: Engine | None
) -> tuple[BothStages, BatchTimes]:
    """Run one batch through stage 1, through stage 2 at every alpha, and through the baseline; seconds by step."""
    both = cascade.run_both(images, list(counts.values()))
    clock = Clock()
    finite = finite_rows(both.ee["logits"], both.ee["scores"])
    # The gate's softmax, so that it is timed; who continues is decided later, by eta.
    softmax(np.where(finite[:, None], both.ee["logits"], 0)).max(axis=1)
    ee_glue = both.view_seconds + clock.lap()
    sac_glue: dict[float, float] = {}
    for alpha, result in zip(counts, both.sac, strict=True):
        clock.lap()
        known = finite_rows(result.logits)
        softmax(np.where(known[:, None], result.logits, 0))
        sac_glue[alpha] = result.gather_seconds + clock.lap()
    deit = None
    if baseline is not None:
        clock.lap()
        softmax(baseline.run({"image": full_view(images, cascade.config.preprocessing)})["logits"])
        deit = clock.lap()
    sac_seconds = {alpha: result.sac_seconds for alpha, result in zip(counts, both.sac, strict=True)}
    return both, BatchTimes(len(images), both.ee_seconds, ee_glue, sac_seconds, sac_glue, deit)
