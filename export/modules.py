"""Modules that are traced into engines: stage 1, stage 2, and the plain DeiT that is their baseline."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE, Open, Sizes, engine_contract
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export.blocks import Attention, Mlp, PatchEmbed
from sacvit_deploy.export.model import ReferenceSACViT


class EngineModule(nn.Module):
    """Module traced into one engine, with the names and open axes of the engine contract.

    dtype: element type of the tensors between engines, the variant's.
    """

    role: str
    sizes = Sizes(batch=2, targets=3)  # to trace with; a batch of one would be taken for a constant

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        super().__init__()
        self.config, self.dtype = config, dtype

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input names, in order."""
        return tuple(engine_contract(self.role, self.config).inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output names, in order."""
        return tuple(engine_contract(self.role, self.config).outputs)

    def example(self) -> tuple[Tensor, ...]:
        """Make inputs to trace with, all zero."""
        sizes = self.sizes._replace(background=self.config.geometry.tokens - self.sizes.targets)
        types = {"variant": self.dtype, "float32": torch.float32, "int64": torch.int64, "uint8": torch.uint8}
        tensors = engine_contract(self.role, self.config).inputs.values()
        return tuple(torch.zeros(tensor.at(sizes), dtype=types[tensor.dtype]) for tensor in tensors)

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Return the open axes by input, one symbol per size, so that the runtime chooses alpha."""
        symbols = {size: torch.export.Dim(size) for size in Sizes._fields}
        return {
            name: {
                axis: symbols[d.size] if d.factor == 1 else d.factor * symbols[d.size]
                for axis, d in enumerate(tensor.shape)
                if isinstance(d, Open)
            }
            for name, tensor in engine_contract(self.role, self.config).inputs.items()
        }


class StageModule(EngineModule):
    """Module over the reference model, whose state dict names the weights."""

    def __init__(self, model: ReferenceSACViT) -> None:
        super().__init__(model.config, dtype_of(model))
        self.model = model

    def weights(self) -> dict[str, Tensor]:
        """Return the weights with their names in the state dict, in the precision that the graph has them in."""
        return dict(self.model.state_dict())


class EEStage(StageModule):
    """Stage 1: image [B,3,S/2,S/2] -> logits [B,C] and scores [B,N] in fp32, features and embeddings [B,N,D]."""

    role = "ee"

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Run stage 1; features and embeddings, which stage 2 reuses, come in the variant's precision."""
        out = self.model.stage_one(image)
        return out.logits, out.scores, out.features.to(image.dtype), out.embeddings.to(image.dtype)


class SACStage(StageModule):
    """Stage 2: patches [B,4M,3PP], positions [B,4M], target_features [B,M,D], background [B,N-M,D] -> logits [B,C]."""

    role = "sac"

    def forward(self, patches: Tensor, positions: Tensor, target_features: Tensor, background: Tensor) -> Tensor:
        """Run stage 2; logits are fp32."""
        return self.model.stage_two(patches, positions, target_features, background)


class PlainDeiT(StageModule):
    """Baseline: image [B,3,S,S] -> logits [B,C] in fp32, by the model's weights used as a plain DeiT."""

    role = BASELINE

    def forward(self, image: Tensor) -> Tensor:
        """Run all hi-res tokens through all blocks."""
        model = self.model
        table = model.high_positions()
        leading = model.leading(table, image.shape[0])
        x = torch.cat([leading, model.enter(model.patch_embed(image) + table[:, 1:])], dim=1)
        for block in model.layers():
            x = block(x)[0]
        logits: Tensor = model.head(model.norm(x[:, 0])).float()
        return logits


def dtype_of(model: ReferenceSACViT) -> torch.dtype:
    """Return the element type of the linear layers, which is that of the tensors between engines."""
    return model.patch_embed.proj.weight.dtype


def halve(model: ReferenceSACViT) -> ReferenceSACViT:
    """Copy the model with linear layers in half precision.

    LayerNorm, softmax, the residual stream, scores, positions and the classifier stay in fp32. Raises ExportError for a
    weight beyond half precision's range.
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


# By precision: the checkpoint's model to the one that the variant is traced from, for all that `export` makes.
CONVERSIONS: dict[str, Callable[[ReferenceSACViT], ReferenceSACViT]] = {"fp32": lambda model: model, "fp16": halve}


def random_model(config: ModelConfig, seed: int = 0) -> ReferenceSACViT:
    """Make a model with random weights, for benchmarks and tests where accuracy does not matter."""
    torch.manual_seed(seed)
    return ReferenceSACViT(config).eval()
