"""Images that are on the device already, and logits that stay there, by DLPack; against those that go up and down."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.labels import BATCHES, answer, load, open_pool, top
from sacvit_deploy.confidence import softmax
from sacvit_deploy.device.dlpack import tensor_in
from sacvit_deploy.device.exported import ExportedTensor
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Memory, Rows
from sacvit_deploy.device_answers import answer_tensors
from sacvit_deploy.errors import BackendError
from sacvit_deploy.item import Answer
from sacvit_deploy.model import SACViT
from sacvit_deploy.opened import OpenedModel
from sacvit_deploy.prediction import Prediction

KEPT = 3  # batches whose logits are read later, when others were computed


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for each batch and gate."""
    model = SACViT(settings.example, device="cpu", precision=settings.precision)
    pool = open_pool(settings, settings.precision)
    memory = pool.device.memory
    if isinstance(memory, HostMemory):
        memory.dlpack_device = (1, 0)
    if memory.dlpack_device is None:
        raise BackendError(f"tensors on {settings.device} can't be shared with other libraries")
    opened = dataclasses.replace(model.opened, pool=pool)
    images, count = load(model, settings), model.config.num_targets()
    for batch, eta in itertools.product(BATCHES, (model.eta, 1.0)):
        expected = answer(pool, images, eta, count, batch)
        yield {"batch": batch, "eta": eta, **compare(classify(opened, memory, images, eta, count, batch), expected)}


def classify(
    opened: OpenedModel, memory: Memory, images: Sequence[Pixels], eta: float, count: int, batch: int
) -> list[tuple[Any, Array]]:
    """Return the host's answer for each image, and its logits [C] from the device."""
    found: list[tuple[Any, Array]] = []
    waiting: list[tuple[Sequence[Any], ExportedTensor]] = []
    for at in range(0, len(images), batch):
        answers = answer_tensors(opened, placed(memory, images[at : at + batch]), eta=eta, count=count)
        waiting.append((answers.predictions, answers.logits))
        if len(waiting) == KEPT or at + batch >= len(images):
            for predictions, logits in waiting:
                found += zip(predictions, read(memory, logits), strict=True)
            waiting.clear()
    return found


def placed(memory: Memory, images: Sequence[Pixels]) -> ExportedTensor:
    """Return images [B,S,S,3] on the device, as another library would have them."""
    pixels = np.ascontiguousarray(images)
    memory.activate()
    stream = memory.stream()
    tensor = memory.allocate(pixels.shape, pixels.dtype)
    memory.upload(tensor, pixels, stream)
    shared = ExportedTensor(
        "images", [Rows({"images": tensor}, 0, len(pixels))], pixels.shape, pixels.dtype, memory, stream
    )
    memory.synchronize(memory.record_event(stream))
    memory.free(tensor)
    memory.close_stream(stream)
    return shared


def read(memory: Memory, shared: ExportedTensor) -> Array:
    """Read a tensor as another library would, in a stream of its own."""
    memory.activate()
    stream = memory.stream()
    capsule = shared.__dlpack__(stream=None if stream is None else int(stream))
    target = memory.pinned(shared.shape, shared.dtype)
    memory.download(target, DeviceTensor(tensor_in(capsule).data, shared.shape, shared.dtype), stream)
    memory.synchronize(memory.record_event(stream))
    memory.close_stream(stream)
    return target


def compare(found: Sequence[tuple[Any, Array]], expected: Sequence[Answer]) -> Row:
    """Count equal answers: of the host's, and of the logits on the device."""
    pairs = list(zip(found, expected, strict=True))
    good = [(one, logits, other) for (one, logits), other in pairs if isinstance(one, Prediction) and not other.error]
    errors = [
        float(np.abs(softmax(logits) - other.probabilities).max())
        for _, logits, other in good
        if other.probabilities is not None
    ]
    return {
        "images": len(pairs),
        "labels equal": sum(one.index == top(other) for one, _, other in good),
        "stages equal": sum(one.stage == other.stage for one, _, other in good),
        "logits' labels equal": sum(int(logits.argmax()) == top(other) for _, logits, other in good),
        "continued": sum(other.stage == 2 for *_, other in good),
        "worst probability": max(errors, default=None),
    }
