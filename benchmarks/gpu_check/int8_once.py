"""int8 in ONNX Runtime on the device: its labels, every engine, the product. Measured once, as it may be slow there.

A provider without products of int8 computes each linear layer in fp32, between nodes that quantise what goes in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.engines_alone import measure_engines
from sacvit_deploy.benchmarks.gpu_check.labels import answer_on_cpu, compare_model, open_pool
from sacvit_deploy.benchmarks.gpu_check.product import measure_batch
from sacvit_deploy.benchmarks.gpu_check.subject import open_subject
from sacvit_deploy.model import SACViT

PRECISION = "int8"
BATCH = 32  # of the labels


def measure(settings: Settings) -> Iterator[Row]:
    """Yield rows of labels, on the CPU too, of every engine at the first batch, and of the product, the longest of all.

    Raises BackendError where the device can't run int8.
    """
    settings = dataclasses.replace(settings, precision=PRECISION, rounds=1, seconds=settings.seconds / 2)
    pool = open_pool(settings, PRECISION)
    reference = answer_on_cpu(settings)
    yield from compare_model(reference, PRECISION, pool, (BATCH,))
    # What int8 itself changes, whatever the device.
    on_cpu = SACViT(settings.example, device="cpu", precision=PRECISION)
    yield from compare_model(reference, f"{PRECISION}, on the CPU", on_cpu, (BATCH,))
    subject, batch = open_subject(settings), settings.batches[0]
    yield from measure_engines(subject, settings, [batch])
    yield from measure_batch(subject, settings, batch, [settings.share])
