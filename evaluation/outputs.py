"""Both stages' answers to every image of a data set, from one pass; any eta is computed from them afterwards."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from sacvit_deploy.evaluation.baseline import BaselineTimer
from sacvit_deploy.evaluation.labelled_images import Float, LabelledImages, decoded_batches
from sacvit_deploy.evaluation.timing import BatchTimes, EvalTimes
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import softmax
from sacvit_deploy.scheduler import finite_rows, overflow

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
    baseline: BaselineTimer | None = None,
) -> EvalOutputs:
    """Run both stages on every image, whatever the gate would decide, and the baseline, if given, in turn with them.

    alphas: at least one. batch >= 1. An image that fails is left out and listed. Raises ImageError if no image can be
    read, OutputError if none gets finite outputs, UsageError for an alpha out of range.
    """
    geometry, method = cascade.config.geometry, cascade.config.method
    counts = {alpha: num_targets(alpha, geometry.tokens, method.rounding) for alpha in alphas}
    unreadable: list[SacvitError] = []
    overflowed: list[SacvitError] = []
    parts: list[_Part] = []
    times: list[BatchTimes] = []
    with Progress(sys.stderr).count(dataset.kind, len(dataset)) as advance:
        for decoded in decoded_batches(dataset, batch):
            unreadable += decoded.errors
            if decoded.images:
                part, seconds = _run(cascade, decoded.images, counts, baseline)
                good = finite_rows(part.ee, part.scores, *part.sac.values())
                for at in np.nonzero(~good)[0]:
                    stage = "SAC" if finite_rows(part.ee, part.scores)[at] else "EE"
                    overflowed.append(overflow(dataset.names[decoded.rows[at]], stage))
                parts.append(part.pick(decoded.rows, good))
                times.append(seconds)
            advance(decoded.size)
    if not parts:
        raise ImageError(f"none of the {len(dataset):,} images in {dataset.source} can be read; {unreadable[0]}")
    rows = np.concatenate([part.rows for part in parts])
    if not rows.size:
        raise OutputError(f"no image of {dataset.source} gets a finite answer; {overflowed[0]}")
    return EvalOutputs(
        rows=rows,
        labels=dataset.labels[rows],
        ee=StageAnswers(np.concatenate([part.ee for part in parts])),
        sac={alpha: StageAnswers(np.concatenate([part.sac[alpha] for part in parts])) for alpha in alphas},
        targets={alpha: np.concatenate([part.targets[alpha] for part in parts]) for alpha in alphas},
        times=EvalTimes(times, batch),
        unreadable=unreadable,
        overflowed=overflowed,
    )


@dataclass(frozen=True)
class _Part:
    """Outputs of one batch. rows: the batch's own from `_run`, the data set's from `pick`."""

    rows: Index
    ee: Array
    scores: Array
    sac: dict[float, Array]
    targets: dict[float, Index]

    def pick(self, rows: Index, keep: Bool) -> _Part:
        sac = {alpha: logits[keep] for alpha, logits in self.sac.items()}
        targets = {alpha: indices[keep] for alpha, indices in self.targets.items()}
        # The targets were selected by the scores; keeping those of a whole data set would only take memory.
        return _Part(rows[keep], self.ee[keep], self.scores[:0], sac, targets)


def _run(
    cascade: Cascade, images: Sequence[Pixels], counts: Mapping[float, int], baseline: BaselineTimer | None
) -> tuple[_Part, BatchTimes]:
    """Run one batch through stage 1, through stage 2 at every alpha, and through the baseline; seconds by step."""
    both = cascade.run_both(images, list(counts.values()))
    results = dict(zip(counts, both.sac, strict=True))
    clock = Clock()
    finite = finite_rows(both.ee["logits"], both.ee["scores"])
    # The gate's softmax, so that it is timed; who continues is decided later, by eta.
    softmax(np.where(finite[:, None], both.ee["logits"], 0)).max(axis=1)
    ee_glue = both.view_seconds + clock.lap()
    sac_glue: dict[float, float] = {}
    for alpha, result in results.items():
        clock.lap()
        known = finite_rows(result.logits)
        softmax(np.where(known[:, None], result.logits, 0))
        sac_glue[alpha] = result.gather_seconds + clock.lap()
    deit = None if baseline is None else baseline.seconds(images)
    part = _Part(
        rows=np.arange(len(images), dtype=np.int64),
        ee=both.ee["logits"],
        scores=both.ee["scores"],
        sac={alpha: result.logits for alpha, result in results.items()},
        targets={alpha: result.targets for alpha, result in results.items()},
    )
    sac_seconds = {alpha: result.sac_seconds for alpha, result in results.items()}
    return part, BatchTimes(len(images), both.ee_seconds, ee_glue, sac_seconds, sac_glue, deit)
