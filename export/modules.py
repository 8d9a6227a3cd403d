"""The modules that become engines: stage 1, stage 2, and the plain DeiT they are measured against.

Names of inputs and outputs are the engine contract: the same in ONNX, in every backend and in C++.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export.blocks import Attention, Mlp, PatchEmbed
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.geometry import CHILDREN


class Stage(nn.Module):
    """What the exporter traces: a module with named inputs and outputs; the state dict of `model` names the weights.

    `example` gives inputs to trace with (a batch of one would be taken for a constant), `dynamic` the axes left open.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(self, model: ReferenceSACViT) -> None:
        super().__init__()
        self.model = model

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        raise NotImplementedError

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Axes left open."""
        raise NotImplementedError


class EEStage(Stage):
    """image [B,3,S/2,S/2] -> logits [B,C], scores [B,N] (both fp32), features [B,N,D], embeddings [B,N,D]."""

    inputs = ("image",)
    outputs = ("logits", "scores", "features", "embeddings")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run stage 1; what goes on to stage 2 leaves in the variant's precision."""
        out = self.model.stage_one(image)
        return out.logits, out.scores, out.features.to(image.dtype), out.embeddings.to(image.dtype)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        half = self.model.config.geometry.image_size // 2
        return (torch.zeros(2, 3, half, half, dtype=dtype_of(self.model)),)

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Axes left open."""
        return {"image": {0: torch.export.Dim("batch")}}


class SACStage(Stage):
    """patches [B,4M,3PP], positions [B,4M], target_features [B,M,D], background [B,N-M,D] -> logits [B,C] fp32."""

    inputs = ("patches", "positions", "target_features", "background")
    outputs = ("logits",)

    def forward(self, patches: Tensor, positions: Tensor, target_features: Tensor, background: Tensor) -> Tensor:
        """Run stage 2."""
        return self.model.stage_two(patches, positions, target_features, background)

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        geometry, dtype = self.model.config.geometry, dtype_of(self.model)
        targets, rest = 3, geometry.tokens - 3
        return (
            torch.zeros(2, CHILDREN * targets, geometry.patch_values, dtype=dtype),
            torch.zeros(2, CHILDREN * targets, dtype=torch.int64),
            torch.zeros(2, targets, geometry.width, dtype=dtype),
            torch.zeros(2, rest, geometry.width, dtype=dtype),
        )

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Axes left open: alpha is a choice of the runtime."""
        batch = torch.export.Dim("batch")
        targets, background = torch.export.Dim("targets"), torch.export.Dim("background")
        return {
            "patches": {0: batch, 1: CHILDREN * targets},
            "positions": {0: batch, 1: CHILDREN * targets},
            "target_features": {0: batch, 1: targets},
            "background": {0: batch, 1: background},
        }


class PlainDeiT(Stage):
    """image [B,3,S,S] -> logits [B,C]: the same weights as a plain DeiT, the baseline of every comparison."""

    inputs = ("image",)
    outputs = ("logits",)

    def forward(self, image: Tensor) -> Tensor:
        """Run every hi-res token through every block."""
        model = self.model
        table = model.high_positions()
        cls = (model.cls_token + table[:, :1]).expand(image.shape[0], -1, -1)
        x = torch.cat([cls, model.patch_embed(image) + table[:, 1:]], dim=1)
        for block in model.layers():
            x = block(x)[0]
        logits: Tensor = model.head(model.norm(x[:, 0])).float()
        return logits

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace with."""
        size = self.model.config.geometry.image_size
        return (torch.zeros(2, 3, size, size, dtype=dtype_of(self.model)),)

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Axes left open."""
        return {"image": {0: torch.export.Dim("batch")}}


def dtype_of(model: ReferenceSACViT) -> torch.dtype:
    """The precision of the linear layers, which is that of the tensors between the engines."""
    return model.patch_embed.proj.weight.dtype


def halve(model: ReferenceSACViT) -> ReferenceSACViT:
    """Return a copy with half-precision weights and products.

    LayerNorm, softmax, the residual stream, scores, positions and the classifier stay in fp32. Raises ExportError for a
    weight that half precision can't hold: it would become infinite.
    """
    half = copy.deepcopy(model)
    for module in half.modules():
        if isinstance(module, (Attention, Mlp, PatchEmbed)):
            module.half()
    whole = model.state_dict()
    for name, value in half.state_dict().items():
        if not value.isfinite().all():
            reach = float(whole[name].abs().max())
            raise ExportError(
                f"the fp16 variant can't hold `{name}`, which reaches {reach:.0f} where half precision ends at 65504; "
                "export without --fp16"
            )
    return half


def empty_model(config: ModelConfig, seed: int = 0) -> ReferenceSACViT:
    """A model with random weights, for benchmarks and tests that measure everything but accuracy."""
    torch.manual_seed(seed)
    return ReferenceSACViT(config).eval()
