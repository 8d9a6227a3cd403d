"""Models and checkpoint files for these tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.export.model import ReferenceSACViT

Weights = dict[str, Tensor]


def config_of(image_size: int = 224, **fields: Any) -> ModelConfig:
    """Make a small config; keywords go to the geometry or to the method, whichever has the field."""
    geometry: dict[str, Any] = {"image_size": image_size, "width": 32, "depth": 4, "heads": 2, "classes": 5}
    method = {}
    for name, value in fields.items():
        (geometry if name in Geometry.__dataclass_fields__ else method)[name] = value
    return ModelConfig(Geometry(**geometry), Method(**method))


def lively(weights: Weights, seed: int = 0) -> Weights:
    """Draw random values for every tensor, biases and norms too, large enough for each to matter.

    A freshly initialised model would hide much: its biases are zero, its norms one, its attention nearly uniform.
    """
    random = torch.Generator().manual_seed(seed)
    out = {}
    for name, value in weights.items():
        noise = torch.randn(value.shape, generator=random)
        if name.endswith("bias"):
            out[name] = 0.2 * noise
        elif "norm" in name or name == "reuse_block.0.weight":
            out[name] = 1 + 0.3 * noise
        elif name in ("cls_token", "reg_token") or name.startswith("pos_embed"):
            out[name] = 0.7 * noise
        elif "qkv" in name:
            out[name] = 2.0 * noise / value.shape[1] ** 0.5
        else:
            out[name] = 1.2 * noise / value[0].numel() ** 0.5
    return out


def lively_model(config: ModelConfig, seed: int = 0) -> ReferenceSACViT:
    """Make a model in eval mode with random weights that all matter."""
    model = ReferenceSACViT(config).eval()
    model.load_state_dict(lively(model.state_dict(), seed))
    return model


def deit_weights(
    size: int = 224, width: int = 64, depth: int = 2, classes: int = 5, *, patch: int = 16, seed: int = 0
) -> Weights:
    """Make a state dict with the names of timm's VisionTransformer and DeiT."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, (size // patch) ** 2 + 1, width),
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        for name, shape in {
            "norm1.weight": (width,),
            "norm1.bias": (width,),
            "attn.qkv.weight": (3 * width, width),
            "attn.qkv.bias": (3 * width,),
            "attn.proj.weight": (width, width),
            "attn.proj.bias": (width,),
            "norm2.weight": (width,),
            "norm2.bias": (width,),
            "mlp.fc1.weight": (4 * width, width),
            "mlp.fc1.bias": (4 * width,),
            "mlp.fc2.weight": (width, 4 * width),
            "mlp.fc2.bias": (width,),
        }.items():
            shapes[f"blocks.{block}.{name}"] = shape
    shapes |= {
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (classes, width),
        "head.bias": (classes,),
    }
    return lively({name: torch.empty(shape) for name, shape in shapes.items()}, seed)


def cf_vit_weights(
    size: int = 224, width: int = 64, depth: int = 2, classes: int = 5, *, patch: int = 16, seed: int = 0
) -> Weights:
    """Make a state dict with CF-ViT's names: DeiT's, two position tables, and the feature reuse block."""
    weights = deit_weights(size, width, depth, classes, patch=patch, seed=seed)
    del weights["pos_embed"]
    coarse = (size // (2 * patch)) ** 2
    shapes = {
        "pos_embed_list.0": (1, coarse + 1, width),
        "pos_embed_list.1": (1, 4 * coarse + 1, width),
        "reuse_block.0.weight": (width,),
        "reuse_block.0.bias": (width,),
        "reuse_block.1.fc1.weight": (4 * width, width),
        "reuse_block.1.fc1.bias": (4 * width,),
        "reuse_block.1.fc2.weight": (width, 4 * width),
        "reuse_block.1.fc2.bias": (width,),
    }
    return weights | lively({name: torch.empty(shape) for name, shape in shapes.items()}, seed + 1)


def images_for(config: ModelConfig, count: int = 2, seed: int = 0) -> Tensor:
    """Draw normalised images [count,3,S,S]: smooth patterns with noise on top, each different."""
    size = config.geometry.image_size
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(count, 3, 7, 7))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False)
    return smooth + 0.5 * torch.from_numpy(rng.normal(size=(count, 3, size, size))).float()
