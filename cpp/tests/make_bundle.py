"""Write a small bundle with random weights for the C++ tests: 288 pixels, and the method's other choices."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import torch

from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.modules import random_model
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

GEOMETRY = Geometry(image_size=288, width=64, depth=2, heads=1, classes=10)
# The example bundle has the defaults; this one has every other choice that the runtime knows.
CONFIG = ModelConfig(
    GEOMETRY,
    Method(
        downsample="bilinear_corners",
        alpha=1.0,
        rounding="ceil",
        background="features",
        attention="global",
        selection="window",
        region_size=4,
    ),
    Preprocessing("bilinear", 0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="squash", resize_rounding="floor"),
)


def main() -> int:
    """Write NAME.sacvit for every config into the folder named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "other.sacvit"
    if target.exists():
        return 0
    model = random_model(CONFIG, seed=3)
    with torch.no_grad():
        # Fresh weights are so small that all images look alike; so large, some exit and some continue.
        for key, parameter in model.named_parameters():
            if parameter.ndim == 2 and key.startswith(("blocks", "reuse_block")):
                parameter.mul_(6)
        model.pos_embed.mul_(10)
        model.patch_embed.proj.weight.mul_(4)
        model.head.weight.mul_(20)
    checkpoint = folder / "other.safetensors"
    labels = [f"thing {number}" for number in range(GEOMETRY.classes)]
    save_checkpoint(checkpoint, model, labels=labels, eta=0.6, provenance={"data": "none, random weights"})
    request = ExportRequest(target, precisions=("fp32",), threads=2)
    export_bundle(load_checkpoint(checkpoint), request, Progress(io.StringIO()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
