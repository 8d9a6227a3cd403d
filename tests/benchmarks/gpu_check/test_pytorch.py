"""PyTorch's baselines: what can't run here says why."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.pytorch import measure
from sacvit_deploy.errors import BackendError


@pytest.mark.slow
def test_on_the_cpu_it_is_eager_and_traced(settings: Settings) -> None:
    rows = list(measure(dataclasses.replace(settings, batches=(2,))))
    assert [row["kind"] for row in rows] == ["eager", "graph", "compiled"]
    for row in (rows[0], rows[2]):
        assert float(row["images/s"] or 0) > 0 and row["precision"] == "fp32"
    assert rows[1]["why not"] == "CUDA graphs need CUDA"
    assert torch.is_grad_enabled()  # as before: others train in this process


@pytest.mark.skipif(torch.cuda.is_available(), reason="this torch has CUDA")
def test_a_torch_without_cuda_is_a_reason(settings: Settings) -> None:
    with pytest.raises(BackendError, match="has no cuda"):
        list(measure(dataclasses.replace(settings, device="cuda")))
