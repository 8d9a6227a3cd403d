"""Answers whose logits stay on the device, for a program that goes on there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacvit_deploy.device.exported import ExportedTensor
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.gate import finish, gate
from sacvit_deploy.images.scaled import BorrowedImage
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.opened import OpenedModel, to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.stages.context_pool import ContextPool


@dataclass(frozen=True, eq=False)
class DeviceAnswers:
    """Answers for a batch of B images that were on the device.

    logits: [B,C] fp32 there, of the stage that answered each image; of an image with an error, not all are finite.
    predictions: what `predict_batch` returns for the images.
    """

    logits: ExportedTensor
    predictions: Sequence[Prediction | SacvitError]


def answer_tensors(opened: OpenedModel, images: Any, *, eta: float, count: int) -> DeviceAnswers:
    """Classify images [B,S,S,3] on one of the model's devices, in one EE call and at most one SAC call. count: M.

    Raises UsageError, BackendError.
    """
    pool, name = pool_of(opened, images), f"<{type(images).__name__}>"
    size = images.shape[0] if len(images.shape) == 4 else 0  # any other shape is refused below
    pool.check(size)
    answers = [Answer(Item(name, None)) for _ in range(size)]
    with pool.stages(count, max(1, size)) as stages:
        borrowed = stages.borrow(images)
        if not isinstance(borrowed, UsageError):
            first = second = None
            waiting: list[int] = []
            if size:
                first = stages.enqueue_stage1([BorrowedImage(borrowed, row) for row in range(size)])
                waiting = gate(stages, first, answers, eta)
            if waiting:
                second = stages.enqueue_stage2(len(waiting))
                finish(stages, second, [answers[row] for row in waiting])
            logits = stages.export_logits(first, second, waiting)
    if isinstance(borrowed, UsageError):
        raise borrowed
    return DeviceAnswers(logits, [to_prediction(answer, opened.bundle, row) for row, answer in enumerate(answers)])


def pool_of(opened: OpenedModel, images: Any) -> ContextPool:
    """Return the pool of the device that images are on. Raises UsageError where there is none."""
    for pool in opened.pools:
        if pool.holds(images):
            return pool
    device = opened.backend.description
    if not opened.pools:
        raise UsageError(f"predict_tensors is for models on a GPU, and this one runs on {device}; call predict_batch")
    if all(pool.device.memory.dlpack_device is None for pool in opened.pools):
        raise UsageError(f"{device}: its tensors can't be shared with other libraries; call predict_batch")
    raise UsageError(
        f"predict_tensors takes a tensor that is on the model's GPU ({device}), not this {type(images).__name__}; call "
        "predict_batch for other images"
    )
