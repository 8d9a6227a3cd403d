"""Checkpoint with random weights, to measure speed at any size: the values of weights do not change the time.

    python -m sacvit_deploy.benchmarks.random_checkpoint deit_s.safetensors [--width 384 --depth 12]
    sacvit-export --ckpt deit_s.safetensors --int8 --calib examples/pictures

Needs torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.export.modules import random_model


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=224)
    options = parser.parse_args()
    write_random(options.path, options.width, options.depth, options.image_size)


def write_random(path: Path, width: int, depth: int, image_size: int = 224) -> None:
    """Write a checkpoint with 64 channels per head and 1000 classes."""
    heads = max(1, width // 64)
    model = random_model(ModelConfig(Geometry(image_size=image_size, width=width, depth=depth, heads=heads)))
    # A random classifier gives every class about the same probability; larger weights spread the probabilities for eta.
    model.head.weight.data *= 20
    save_checkpoint(path, model, provenance={"data": "none, random weights"})


if __name__ == "__main__":
    main()
