"""The baselines' weights are the bundle's own DeiT's, read back from its engine."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from sacvit_deploy.benchmarks.baselines.export import OWN, dense_model
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.modules import PlainDeiT, random_model
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle


@pytest.mark.slow
@pytest.mark.parametrize("heads", [1, 2])
def test_weights_are_read_back_whatever_the_biases(tmp_path: Path, heads: int) -> None:
    # The exporter folds attention's biases into one another, which fresh models, whose biases are zero, don't show.
    model = random_model(ModelConfig(Geometry(image_size=224, width=64, depth=2, heads=heads, classes=10)), seed=5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
    checkpoint, target = tmp_path / "biased.safetensors", tmp_path / "biased.sacvit"
    save_checkpoint(checkpoint, model, labels=[f"thing {number}" for number in range(10)])
    request = ExportRequest(target, precisions=("fp32",), threads=2)
    export_bundle(load_checkpoint(checkpoint), request, Progress(io.StringIO()))
    found, whose = dense_model(open_bundle(target))
    assert whose == OWN
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(PlainDeiT(found)(image), PlainDeiT(model)(image), atol=1e-4, rtol=1e-4)
