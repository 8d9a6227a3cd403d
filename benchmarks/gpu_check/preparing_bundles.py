"""The bundles of a check: one of a DeiT's size whose random weights compress to nothing, and a trained one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sacvit_deploy.benchmarks.gpu_check.carried import EXAMPLE, SPEED, pack
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import random_model
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

GEOMETRIES = {"tiny": (192, 12, 224), "small": (384, 12, 224), "base": (768, 12, 224), "toy": (64, 1, 64)}
TILE = 64  # rows and columns after which a weight's values come again


def prepare(folder: Path, geometry: str, checkpoint: Path) -> int:
    """Export and pack both bundles in fp32 and fp16; returns the folder's bytes. Raises ExportError, UsageError."""
    width, depth, side = GEOMETRIES[geometry]
    config = ModelConfig(Geometry(image_size=side, width=width, depth=depth, heads=max(1, width // 64)))
    with TemporaryDirectory(prefix="sacvit-check-") as scratch:
        source, bundles = Path(scratch) / "speed.safetensors", {name: Path(scratch) / name for name in (SPEED, EXAMPLE)}
        save_checkpoint(source, tiled(random_model(config)), provenance={"data": "none, random weights in tiles"})
        for name, path in ((SPEED, source), (EXAMPLE, checkpoint)):
            export(load_checkpoint(path), bundles[name])
        return pack(folder, bundles)


def export(checkpoint: Checkpoint, target: Path) -> None:
    """Write a bundle in fp32 and fp16."""
    request = ExportRequest(target, precisions=("fp32", "fp16"), threads=usable_cores())
    export_bundle(checkpoint, request, Progress())


def tiled(model: ReferenceSACViT) -> ReferenceSACViT:
    """Let every large weight repeat its first tile: the values do not change the time, and an archive stores them once.

    The classifier keeps its own, or classes would be equal; larger ones spread the probabilities for eta.
    """
    model.head.weight.data *= 20
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and min(parameter.shape) > TILE and not name.startswith("head"):
            rows, columns = (torch.arange(size) % TILE for size in parameter.shape)
            parameter.data = parameter.data[rows][:, columns].clone()
    return model
