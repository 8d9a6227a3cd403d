"""Measures how well the targets cover the object, beside a random choice of targets and the best one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.scenes import size_buckets


@dataclass(frozen=True)
class TargetMeans:
    """A mean over images, 0 to 1: of the model's targets, of M tokens chosen uniformly at random, of the best M."""

    model: float
    random: float
    best: float


@dataclass(frozen=True)
class CoverageRow:
    """Targets against objects' boxes, as means over the images of one group.

    covered: share of the box's area inside targets. touching: share of the targets that touch the box. hit: share of
    the images in which at least one target touches it.
    """

    group: str
    images: int
    covered: TargetMeans
    touching: TargetMeans
    hit: TargetMeans

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"pictures" if name == "images" else name: value for name, value in asdict(self).items()}


def token_shares(boxes: Float, grid: int, token: int) -> Float:
    """Return the share of each box's area inside each low-res token: [n,4] px -> [n,N]; tokens are `token` px wide.

    A row sums to 1 for a box inside the image; a box without area gives NaN.
    """
    edges = np.arange(grid, dtype=np.float64) * token
    left, top, right, bottom = (boxes[:, at, None] for at in range(4))
    across = (np.minimum(right, edges + token) - np.maximum(left, edges)).clip(0)
    down = (np.minimum(bottom, edges + token) - np.maximum(top, edges)).clip(0)
    area = (right - left) * (bottom - top)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Float = (down[:, :, None] * across[:, None, :]).reshape(len(boxes), -1) / area
    return shares


def measure_coverage(shares: Float, targets: Index, group: str = "all") -> CoverageRow:
    """Compare targets [n,M] with token_shares [n,N], n >= 1, of boxes that have an area.

    `random` is the expectation over all choices of M of the N tokens: a token is chosen with probability M / N, and
    where k tokens touch the box, all of them are missed with probability C(N - k, M) / C(N, M).
    """
    count, tokens = targets.shape[1], shares.shape[1]
    touched = shares > 0
    on_box = touched.sum(axis=1)
    chosen = np.take_along_axis(shares, targets, axis=1)
    hits = np.take_along_axis(touched, targets, axis=1).sum(axis=1)
    best = -np.sort(-shares, axis=1)[:, :count]
    missed = [math.comb(tokens - int(k), count) / math.comb(tokens, count) for k in on_box]
    return CoverageRow(
        group=group,
        images=len(targets),
        covered=TargetMeans(
            float(chosen.sum(axis=1).mean()),
            float(shares.sum(axis=1).mean() * count / tokens),
            float(best.sum(axis=1).mean()),
        ),
        touching=TargetMeans(
            float(hits.mean() / count), float(on_box.mean() / tokens), float(np.minimum(on_box, count).mean() / count)
        ),
        hit=TargetMeans(float((hits > 0).mean()), 1 - float(np.mean(missed)), float((on_box > 0).mean())),
    )


def coverage_by_size(boxes: Float, object_px: Float, targets: Index, grid: int, token: int) -> list[CoverageRow]:
    """Measure each size of object that occurs, then all together; boxes without area are left out."""
    shares = token_shares(boxes, grid, token)
    inside_view = np.isfinite(shares).all(axis=1)
    if not inside_view.any():
        return []
    shares, targets, object_px = shares[inside_view], targets[inside_view], object_px[inside_view]
    rows = [measure_coverage(shares[inside], targets[inside], name) for name, inside in size_buckets(object_px).items()]
    return [*rows, measure_coverage(shares, targets)]


HEADER = (
    "  object         images   box covered by targets   targets that touch it    hit by any target\n"
    "                          model  random   best     model  random   best     model  random"
)


def coverage_table(rows: Sequence[CoverageRow]) -> str:
    """Format the rows in per cent, with their head and a legend."""
    return "\n".join(
        [
            HEADER,
            *map(_line, rows),
            "  random: expected of targets chosen blindly; best: the most that as many targets can reach",
        ]
    )


def _line(row: CoverageRow) -> str:
    covered, touching, hit = row.covered, row.touching, row.hit
    return (
        f"  {row.group:<12} {row.images:>8,}   "
        f"{covered.model:>5.1%} {covered.random:>7.1%} {covered.best:>6.1%}   "
        f"{touching.model:>6.1%} {touching.random:>7.1%} {touching.best:>6.1%}   {hit.model:>7.1%} {hit.random:>7.1%}"
    )
