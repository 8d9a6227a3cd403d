"""Chooses images for the contact sheet, and collects what their cards show."""

from __future__ import annotations

import numpy as np

from sacvit_deploy.arrays import Index
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.options import EvalJob
from sacvit_deploy.evaluation.outputs import EvalOutputs
from sacvit_deploy.evaluation.scenes import size_buckets
from sacvit_deploy.evaluation.sheet import Card


def split_count(exits: int, continuing: int, count: int) -> tuple[int, int]:
    """Share `count` places between both kinds of images: half each, more for one where the other has too few."""
    first = min(exits, max(count - count // 2, count - continuing))
    return first, min(continuing, count - first)


def choose_rows(rows: Index, object_px: Float | None, count: int, rng: np.random.Generator) -> Index:
    """Choose `count` of the rows at random; where object sizes are known, equally from each, ordered by size."""
    order = rng.permutation(rows)
    if object_px is None:
        return order[:count]
    turn = np.zeros(len(order), dtype=np.int64)  # of each row within its size
    for inside in size_buckets(object_px[order]).values():
        turn[inside] = np.arange(inside.sum())
    chosen = order[np.argsort(turn, kind="stable")][:count]
    return chosen[np.argsort(object_px[chosen], kind="stable")]


def make_card(job: EvalJob, outputs: EvalOutputs, row: int, alpha: float | None) -> Card:
    """Make the card of one image as answered by stage 2 at an alpha, or by stage 1 where alpha is None."""
    stage = outputs.ee if alpha is None else outputs.sac[alpha]
    image, grid = int(outputs.rows[row]), job.model.config.geometry.grid
    labels, truth, answer = job.model.labels, int(outputs.labels[row]), int(stage.answer[row])
    mask = None
    if alpha is not None:
        mask = np.isin(np.arange(grid * grid), outputs.targets[alpha][row]).reshape(grid, grid)
    box = None
    if job.dataset.boxes is not None:
        left, top, right, bottom = (float(value) for value in job.dataset.boxes[image])
        box = (left, top, right, bottom)
    return Card(
        pixels=job.dataset.load(image),
        truth=labels[truth],
        answer=labels[answer],
        probability=float(stage.probability[row]),
        right=answer == truth,
        mask=mask,
        box=box,
    )
