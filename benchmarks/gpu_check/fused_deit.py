"""The plain DeiT as people write it in PyTorch: fused attention, everything in one precision, standard layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.export.blocks import Attention
from sacvit_deploy.export.glue import ViewStage
from sacvit_deploy.export.model import ReferenceSACViT


class FusedDeiT(nn.Module):
    """Pictures [B,S,S,3] uint8 -> logits [B,C] fp32, by a model's weights; `PlainDeiT` but for rounding."""

    def __init__(self, model: ReferenceSACViT, dtype: torch.dtype) -> None:
        super().__init__()
        self.view = ViewStage(model.config, dtype, whole=True)
        self.model = model.to(dtype)

    def forward(self, pictures: Tensor) -> Tensor:
        """Run all tokens through all blocks."""
        model = self.model
        table = model.high_positions()
        tokens = model.patch_embed.proj(self.view(pictures)).flatten(2).transpose(1, 2)
        x = torch.cat([model.leading(table, len(pictures)), model.enter(tokens + table[:, 1:])], dim=1)
        for block in model.layers():
            x = x + fused_attention(block.attn, block.norm1(x))
            x = x + block.mlp(block.norm2(x))
        logits: Tensor = model.head(model.norm(x[:, 0])).float()
        return logits


def fused_attention(attention: Attention, x: Tensor) -> Tensor:
    """Attend among tokens [B,T,D] by one fused operation."""
    batch, tokens, width = x.shape
    parts = attention.qkv(x).reshape(batch, tokens, 3, attention.heads, width // attention.heads)
    q, k, v = parts.permute(2, 0, 3, 1, 4)
    values = F.scaled_dot_product_attention(q, k, v)
    projected: Tensor = attention.proj(values.transpose(1, 2).flatten(2))
    return projected
