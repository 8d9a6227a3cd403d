"""What both stages say of every picture, from one pass; any eta is computed from this later."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import click
import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.clock import Clock
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from sacvit_deploy.evaluation.baseline import Baseline
from sacvit_deploy.evaluation.data import Float, Pictures
from sacvit_deploy.evaluation.timing import BatchTimes, Times
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import softmax
from sacvit_deploy.scheduler import finite_rows, overflow

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stage:
    """One stage's answers: logits [n,C] fp32."""

    logits: Array

    @property
    def answer(self) -> Index:
        """[n] the most probable class, as `Prediction.index` gives it."""
        found: Index = softmax(self.logits).argmax(axis=1)
        return found

    @property
    def probability(self) -> Float:
        """[n] its probability, as the gate sees it."""
        found: Float = softmax(self.logits).max(axis=1)
        return found


@dataclass(frozen=True)
class Outputs:
    """Both stages on the n pictures that could be read and answered.

    rows: [n] rows of the data set. labels: [n]. ee: stage 1; sac and targets [n,M]: stage 2, by alpha.
    unreadable, overflowed: the errors of the pictures that are not among the n.
    """

    rows: Index
    labels: Index
    ee: Stage
    sac: Mapping[float, Stage]
    targets: Mapping[float, Index]
    times: Times
    unreadable: Sequence[SacvitError]
    overflowed: Sequence[SacvitError]


def collect(
    cascade: Cascade,
    pictures: Pictures,
    alphas: Sequence[float],
    *,
    batch: int = 32,
    baseline: Baseline | None = None,
) -> Outputs:
    """Run both stages on every picture, whatever stage 1 thinks of it; the baseline, if given, in turn with them.

    alphas: at least one. batch >= 1. Raises ImageError if no picture can be read, OutputError if none gets finite
    outputs, UsageError for an alpha out of range. A picture that fails alone is left out and listed.
    """
    geometry, method = cascade.config.geometry, cascade.config.method
    counts = {alpha: num_targets(alpha, geometry.tokens, method.rounding) for alpha in alphas}
    unreadable: list[SacvitError] = []
    overflowed: list[SacvitError] = []
    parts: list[_Part] = []
    times: list[BatchTimes] = []
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="sacvit-decode") as pool, _progress(pictures) as advance:
        for start in range(0, len(pictures), batch):
            numbers = range(start, min(start + batch, len(pictures)))
            # A whole batch is decoded before an engine starts: decoding beside it would be timed with it.
            images, rows = [], []
            for row, found in zip(numbers, pool.map(lambda row: _load(pictures, row), numbers), strict=True):
                if isinstance(found, SacvitError):
                    unreadable.append(found)
                else:
                    images.append(found)
                    rows.append(row)
            if images:
                part, spent = _run(cascade, images, counts, baseline)
                good = finite_rows(part.ee, part.scores, *part.sac.values())
                for at in np.nonzero(~good)[0]:
                    stage = "SAC" if finite_rows(part.ee, part.scores)[at] else "EE"
                    overflowed.append(overflow(pictures.names[rows[at]], stage))
                parts.append(part.pick(np.array(rows, dtype=np.int64), good))
                times.append(spent)
            advance(len(numbers))
    if not parts:
        raise ImageError(f"none of the {len(pictures):,} pictures in {pictures.source} can be read; {unreadable[0]}")
    rows_done = np.concatenate([part.rows for part in parts])
    if not rows_done.size:
        raise OutputError(f"no picture of {pictures.source} gets a finite answer; {overflowed[0]}")
    return Outputs(
        rows=rows_done,
        labels=pictures.labels[rows_done],
        ee=Stage(np.concatenate([part.ee for part in parts])),
        sac={alpha: Stage(np.concatenate([part.sac[alpha] for part in parts])) for alpha in alphas},
        targets={alpha: np.concatenate([part.targets[alpha] for part in parts]) for alpha in alphas},
        times=Times(times, batch),
        unreadable=unreadable,
        overflowed=overflowed,
    )


@dataclass(frozen=True)
class _Part:
    """One batch's outputs; `rows` is filled in by `pick`."""

    rows: Index
    ee: Array
    scores: Array
    sac: dict[float, Array]
    targets: dict[float, Index]

    def pick(self, rows: Index, keep: Bool) -> _Part:
        sac = {alpha: logits[keep] for alpha, logits in self.sac.items()}
        targets = {alpha: found[keep] for alpha, found in self.targets.items()}
        # The scores have done their work; a data set's worth of them need not stay.
        return _Part(rows[keep], self.ee[keep], self.scores[:0], sac, targets)


def _run(
    cascade: Cascade, images: Sequence[Pixels], counts: Mapping[float, int], baseline: Baseline | None
) -> tuple[_Part, BatchTimes]:
    """One batch through stage 1, through stage 2 at every alpha, and through the baseline; seconds by step."""
    clock = Clock()
    both = cascade.run_both(images, list(counts.values()))
    out, results = both.ee, dict(zip(counts, both.sac, strict=True))
    clock.lap()
    finite = finite_rows(out["logits"], out["scores"])
    # The gate's work, so that it is timed; who continues is not asked here.
    softmax(np.where(finite[:, None], out["logits"], 0)).max(axis=1)
    gate = clock.lap()
    sac_glue: dict[float, float] = {}
    for alpha, result in results.items():
        clock.lap()
        known = finite_rows(result.logits)
        softmax(np.where(known[:, None], result.logits, 0))
        sac_glue[alpha] = result.gather_seconds + clock.lap()
    deit = None if baseline is None else baseline.seconds(images)
    part = _Part(
        np.arange(len(images), dtype=np.int64),
        out["logits"],
        out["scores"],
        {alpha: result.logits for alpha, result in results.items()},
        {alpha: result.targets for alpha, result in results.items()},
    )
    return part, BatchTimes(
        size=len(images),
        ee=both.ee_seconds,
        ee_glue=both.view_seconds + gate,
        sac={alpha: result.sac_seconds for alpha, result in results.items()},
        sac_glue=sac_glue,
        deit=deit,
    )


def _load(pictures: Pictures, row: int) -> Pixels | SacvitError:
    try:
        return pictures.load(row)
    except SacvitError as error:
        return error


@contextlib.contextmanager
def _progress(pictures: Pictures) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=len(pictures), label=f"{len(pictures):,} {pictures.kind}", file=sys.stderr) as bar:
        yield bar.update
