"""Do the targets fall on the object? Shares beside those of a random choice and of the best one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.evaluation.data import Float
from sacvit_deploy.evaluation.scenes import size_buckets


@dataclass(frozen=True)
class Measure:
    """A mean over pictures: of the model's targets, of M tokens chosen uniformly at random, of the best M; 0 to 1."""

    model: float
    random: float
    best: float


@dataclass(frozen=True)
class Coverage:
    """Targets against objects' boxes, means over `pictures`.

    covered: share of the box's area inside targets. touching: share of the targets that touch the box. hit: share of
    the pictures in which at least one target touches it.
    """

    group: str
    pictures: int
    covered: Measure
    touching: Measure
    hit: Measure

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


def token_shares(boxes: Float, grid: int, token: int) -> Float:
    """[n,4] px -> [n,N]: the share of each box's area inside each low-res token, `token` px a side.

    A row sums to 1 for a box inside the picture; a box without area gives NaN.
    """
    edges = np.arange(grid, dtype=np.float64) * token
    left, top, right, bottom = (boxes[:, at, None] for at in range(4))
    across = (np.minimum(right, edges + token) - np.maximum(left, edges)).clip(0)
    down = (np.minimum(bottom, edges + token) - np.maximum(top, edges)).clip(0)
    area = (right - left) * (bottom - top)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: Float = (down[:, :, None] * across[:, None, :]).reshape(len(boxes), -1) / area
    return shares


def measure(shares: Float, targets: Index, group: str = "all") -> Coverage:
    """Compare targets [n,M] with token_shares [n,N], n >= 1; rows of boxes without area must be gone.

    Random is the expectation over all choices of M of the N tokens: a token is chosen with probability M / N, and with
    k tokens on the box all are missed with probability C(N - k, M) / C(N, M).
    """
    count, tokens = targets.shape[1], shares.shape[1]
    touched = shares > 0
    on_box = touched.sum(axis=1)
    chosen = np.take_along_axis(shares, targets, axis=1)
    hits = np.take_along_axis(touched, targets, axis=1).sum(axis=1)
    best = -np.sort(-shares, axis=1)[:, :count]
    missed = [math.comb(tokens - int(k), count) / math.comb(tokens, count) for k in on_box]
    return Coverage(
        group=group,
        pictures=len(targets),
        covered=Measure(
            float(chosen.sum(axis=1).mean()),
            float(shares.sum(axis=1).mean() * count / tokens),
            float(best.sum(axis=1).mean()),
        ),
        touching=Measure(
            float(hits.mean() / count), float(on_box.mean() / tokens), float(np.minimum(on_box, count).mean() / count)
        ),
        hit=Measure(float((hits > 0).mean()), 1 - float(np.mean(missed)), float((on_box > 0).mean())),
    )


def by_size(boxes: Float, object_px: Float, targets: Index, grid: int, token: int) -> list[Coverage]:
    """One row for each size of object that occurs, then one for all; boxes without area are left out."""
    shares = token_shares(boxes, grid, token)
    seen = np.isfinite(shares).all(axis=1)
    if not seen.any():
        return []
    shares, targets, object_px = shares[seen], targets[seen], object_px[seen]
    rows = [measure(shares[inside], targets[inside], name) for name, inside in size_buckets(object_px).items()]
    return [*rows, measure(shares, targets)]


HEADER = (
    "  object       pictures   box covered by targets   targets that touch it    hit by any target\n"
    "                          model  random   best     model  random   best     model  random"
)


def line(found: Coverage) -> str:
    """One row for people, in per cent."""
    covered, touching, hit = found.covered, found.touching, found.hit
    return (
        f"  {found.group:<12} {found.pictures:>8,}   "
        f"{covered.model:>5.1%} {covered.random:>7.1%} {covered.best:>6.1%}   "
        f"{touching.model:>6.1%} {touching.random:>7.1%} {touching.best:>6.1%}   {hit.model:>7.1%} {hit.random:>7.1%}"
    )
