"""A plain network on a device, fed as the cascade is: pictures go up, logits come down, nothing else crosses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.benchmarks.contenders import CascadeContender
from sacvit_deploy.benchmarks.whole_view import whole_view_for
from sacvit_deploy.bundle.held import EngineFile
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.stages.context_pool import ContextPool

STEPS = {"ee": "engine", "gate": "answer"}  # what the device's steps are called of a network without a second stage


@dataclass(frozen=True)
class PlainOnDevice:
    """Contender of one engine on a device. pool: as `plain_pool` makes it; workers: as `CascadeContender`'s."""

    pool: ContextPool
    workers: int = 1

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Run it in the place of stage 1, where everything exits; two batches are in flight, as the cascade's are."""
        for answer in CascadeContender(self.pool, 0.0, 1, self.workers).answers(batches, batch):
            timing = answer.item.timing
            answer.item.timing = {STEPS.get(step, step): seconds for step, seconds in timing.items()}
            yield answer


def plain_files(
    backend: Backend, engine: EngineFile, weights: EngineFile | None, config: ModelConfig, precision: str, batch: int
) -> dict[str, EngineFile]:
    """Return a network of whole images as the files of a device, in the roles of stage 1. Raises BackendError.

    engine: image [B,3,S,S] -> logits [B,C]. batch: the largest; plans are built for no more.
    """
    dtype = np.dtype(np.float16 if precision == "fp16" else np.float32)
    files: dict[str, EngineFile] = {"view": whole_view_for(backend, config, dtype, batch), "ee": engine}
    return files if weights is None else {**files, "weights": weights}


def plain_pool(device: Device, config: ModelConfig) -> ContextPool:
    """Return the pool of a device with `plain_files`; its engines are opened. Raises BackendError."""
    pool = ContextPool(device, config)
    pool.warm()
    return pool
