"""Images there and logits that stay there, on the CPU as a device: the same answers, and differences are counted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.labels import BATCHES
from sacvit_deploy.benchmarks.gpu_check.shared_tensors import measure
from sacvit_deploy.device.exported import ExportedTensor

PICTURES = Path(__file__).parents[3] / "examples/pictures"


def test_the_cpu_as_a_device(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(settings, pictures=PICTURES)
    rows = list(measure(settings))
    assert [row["batch"] for row in rows] == [batch for batch in BATCHES for _ in range(2)]
    for row in rows:
        count = 8 + len(list(PICTURES.iterdir()))
        assert row["images"] == row["labels equal"] == row["stages equal"] == row["logits' labels equal"] == count
        assert float(row["worst probability"] or 0) < 1e-6
    assert rows[1]["continued"] == rows[1]["images"] != rows[0]["continued"] != 0
    made = ExportedTensor.__init__

    def spoiled(self: ExportedTensor, name: str, *rest: object) -> None:
        made(self, name, *rest)  # type: ignore[arg-type]
        if name == "logits":
            self._array[:] = np.roll(self._array, 1, axis=1)

    monkeypatch.setattr(ExportedTensor, "__init__", spoiled)
    row = next(iter(measure(settings)))
    assert row["logits' labels equal"] == 0 and row["labels equal"] == row["images"]
