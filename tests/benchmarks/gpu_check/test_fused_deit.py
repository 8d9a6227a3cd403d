"""The DeiT with fused attention is the plain DeiT."""

from __future__ import annotations

import torch

from sacvit_deploy.benchmarks.gpu_check.fused_deit import FusedDeiT
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.glue import ViewStage
from sacvit_deploy.export.modules import PlainDeiT, random_model
from tests.data import record


def test_it_answers_as_the_plain_deit() -> None:
    registers = ModelConfig(Geometry(image_size=64, width=32, depth=2, heads=2, classes=5, registers=3))
    for model in (load_checkpoint(record.TINY).model.eval(), random_model(registers)):
        torch.manual_seed(0)
        side = model.config.geometry.image_size
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter, std=0.1)
        pictures = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
        with torch.no_grad():
            expected = PlainDeiT(model)(ViewStage(model.config, torch.float32, whole=True)(pictures))
            torch.testing.assert_close(FusedDeiT(model, torch.float32)(pictures), expected, atol=1e-4, rtol=1e-4)
